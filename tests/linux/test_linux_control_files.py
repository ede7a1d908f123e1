"""Control files of a cgroup are written all or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cri.linux import control_files
from cri.linux.control_files import ControlFile, limits_something, write_control_files


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in place of the cgroup tree: whether an order works is the double's to say, not the kernel's."""
    (tmp_path / "pod").mkdir()

    def found(cgroup: str, _controller: str) -> Path | None:
        directory = tmp_path / cgroup.strip("/")
        return directory if directory.is_dir() else None

    monkeypatch.setattr(control_files, "directory_of", found)
    return tmp_path / "pod"


def files(*contents: tuple[str, str]) -> list[ControlFile]:
    return [ControlFile("", name, value) for name, value in contents]


def test_all_are_written(tree: Path):
    for name in ("cpu.max", "memory.max"):
        (tree / name).write_text("max\n")
    write_control_files("/pod", files(("cpu.max", "20000 100000"), ("memory.max", "4096")))
    assert (tree / "cpu.max").read_text() == "20000 100000"
    assert (tree / "memory.max").read_text() == "4096"


def test_a_refused_file_takes_the_others_back(tree: Path):
    (tree / "cpu.max").write_text("max 100000\n")
    (tree / "memory.max").symlink_to("/proc/version")  # can be read, never written
    with pytest.raises(OSError, match=r"memory\.max"):
        write_control_files("/pod", files(("cpu.max", "1000 100000"), ("memory.max", "4096")))
    assert (tree / "cpu.max").read_text() == "max 100000"


def test_an_order_that_fails_is_turned_round(tree: Path, monkeypatch: pytest.MonkeyPatch):
    (tree / "limit").write_text("1")
    (tree / "both").write_text("1")
    write = Path.write_text

    def bounded(path: Path, value: str, encoding: str = "ascii") -> int:
        if path.name == "limit" and int(value) > int((tree / "both").read_text()):
            raise OSError(22, "Invalid argument")
        return write(path, value, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", bounded)
    write_control_files("/pod", files(("limit", "5"), ("both", "5")))
    assert ((tree / "limit").read_text(), (tree / "both").read_text()) == ("5", "5")


def test_a_cgroup_or_file_that_is_missing_is_left_out(tree: Path):
    write_control_files("/elsewhere", files(("memory.max", "4096")))
    write_control_files("/pod", files(("memory.max", "4096")))
    assert not (tree / "memory.max").exists()


@pytest.mark.parametrize(
    ("content", "limited"),
    [
        ("max", False),
        ("max 100000", False),
        ("-1", False),
        ("9223372036854771712", False),
        ("4096", True),
        ("20000 100000", True),
    ],
)
def test_what_is_a_limit(tree: Path, content: str, limited: bool):
    (tree / "file").write_text(content + "\n")
    assert limits_something("/pod", ControlFile("", "file", "")) is limited
    assert not limits_something("/pod", ControlFile("", "missing", ""))
