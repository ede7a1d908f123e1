"""A process moved into a cgroup of this machine's own trees, and the cgroup taken away."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri.linux import cgroup_places, cgroups


@pytest.fixture
def cgroup() -> Iterator[str]:
    name = f"/test-cri-shim-{os.getpid()}"
    yield name
    cgroup_places.remove(f"{name}/below")
    cgroup_places.remove(name)
    assert not any(path.exists() for path in cgroups.directories_of(name))


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(["sleep", "100"]) as running:
        yield running.pid
        running.kill()


def test_a_process_is_moved_in_every_tree(cgroup, child):
    for place in (f"{cgroup}/below", f"{cgroup}/below", cgroup):
        cgroup_places.enter(place, child)
        assert cgroup_places.processes_in(place) == {child}
        wanted = set(cgroups.directories_of(place))
        assert set(cgroups.cgroup_of(child).values()) == wanted, "one tree would do for whoever ends all"
    assert cgroup_places.processes_in(f"{cgroup}/below") == frozenset()
    with pytest.raises(OSError, match="busy"):
        cgroup_places.remove(cgroup)


def test_what_is_not_there_has_no_processes_and_is_removed_already(cgroup):
    assert cgroup_places.processes_in(cgroup) == frozenset()
    cgroup_places.remove(cgroup)


def test_a_process_that_is_gone_is_not_moved(cgroup):
    with subprocess.Popen(["true"]) as gone:
        pass
    with pytest.raises(ProcessLookupError):
        cgroup_places.enter(cgroup, gone.pid)


def test_a_set_of_processors_is_inherited(tmp_path, monkeypatch):
    """Version 1 fills neither file of a new cgroup; version 2 has none in the root."""
    above, own = tmp_path / "cpuset", tmp_path / "cpuset/own"
    own.mkdir(parents=True)
    for name, value in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (above / name).write_text(value)
        (own / name).write_text("\n")
    (tmp_path / "unified").mkdir()
    monkeypatch.setattr(cgroup_places, "directories_of", lambda _: [own, tmp_path / "unified/own"])
    cgroup_places.enter("/own", 7)
    assert (own / "cpuset.cpus").read_text() == "0-1\n"
    assert (own / "cpuset.mems").read_text() == "0\n"
    assert [path.name for path in Path(tmp_path, "unified/own").iterdir()] == ["cgroup.procs"]
