"""The assembled pause program, run as the first process of a PID namespace as it is in a pod."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cri.app.host_images import is_static
from cri.app.pause_program import pause_program

x86_64_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program is for x86-64")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    content = pause_program("x86_64")
    assert content is not None
    file = tmp_path / "pause"
    file.write_bytes(content)
    file.chmod(0o755)
    return file


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(true: object, what: str) -> None:
    assert callable(true)
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.005)


def test_it_is_a_small_static_file(program: Path) -> None:
    content = program.read_bytes()
    assert len(content) < 300
    assert is_static(content)


def test_machines_without_a_program_have_the_script() -> None:
    assert pause_program("aarch64") is None


@x86_64_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_until_it_is_asked_to_end(program: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([program])
    try:
        until(lambda: b"pause" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "the start")
        process.send_signal(signal.SIGCHLD)
        time.sleep(0.02)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


@x86_64_only
def test_as_the_first_process_it_reaps_orphans_and_ends_when_asked(program: Path) -> None:
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "sh", "-c", f"(sleep 0.1 &); exec {program}"],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: children(outer.pid), "the first process")
        [first] = children(outer.pid)
        until(lambda: "pause" in Path(f"/proc/{first}/comm").read_text(), "pause")
        until(lambda: not children(first), "the end of the orphan")
        os.kill(first, signal.SIGTERM)
        assert outer.wait(5) == 0
    finally:
        outer.kill()
        outer.wait()
