"""A cgroup that can be read, of either version, and how to find it.

The way to a container's cgroup is its first process, whose entry in /proc names the cgroup in every hierarchy. A
process may have moved on into a cgroup below (systemd as a container's first process does), so the path is cut at the
part that bears the container's id. A process number that now belongs to somebody else leads nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cri.linux.cgroups import cgroup_of, directory_of
from cri.stats.cgroup_v1 import CgroupV1
from cri.stats.cgroup_v2 import CgroupV2
from cri.stats.held_files import CgroupGoneError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cri.stats.held_files import Allowance
    from cri.stats.usage import Details, Usage

UNIFIED = ""
CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb")
"""Those of version 1 that are read."""


class Cgroup(Protocol):
    """What both versions can tell. Everything is blocking and raises CgroupGoneError when the cgroup is gone."""

    def usage(self) -> Usage:
        """What every stats request needs."""

    def details(self) -> Details:
        """What the metrics need beyond it."""

    def cpu_time(self) -> int:
        """Nanoseconds of processor time, alone and quick: what the sampler reads."""

    def threads(self) -> int:
        """How many threads there are, those of the cgroups below included."""

    def processes(self) -> list[int]:
        """The host's numbers of the processes in this very cgroup and in those below."""

    def close(self) -> None:
        """Let go of open files."""


def open_cgroup(directories: Mapping[str, Path], allowance: Allowance) -> Cgroup:
    """A reader of the cgroup with these directories by controller (version 2's is the empty string)."""
    if set(directories) <= {UNIFIED}:
        return CgroupV2(directories[UNIFIED], allowance)
    return CgroupV1(directories, allowance)


def container_cgroup(pid: int, container_id: str, allowance: Allowance) -> Cgroup:
    """The cgroup of the container whose first process is `pid`. Blocking. Raises CgroupGoneError."""
    try:
        found = cgroup_of(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise CgroupGoneError(f"process {pid} of container {container_id[:13]}") from None
    own = {
        controller: directory
        for controller, path in found.items()
        if (directory := _at_level_of(container_id, path)) is not None
    }
    if not own:
        raise CgroupGoneError(f"process {pid} is not in a cgroup of container {container_id[:13]}")
    return open_cgroup(own, allowance)


def cgroup_at(path: str, allowance: Allowance) -> Cgroup:
    """The cgroup with this path in all hierarchies. Blocking. Raises CgroupGoneError where it is in none."""
    found = {
        controller: directory
        for controller in (UNIFIED, *CONTROLLERS)
        if (directory := directory_of(path, controller)) is not None
    }
    if not found:
        raise CgroupGoneError(path)
    return open_cgroup(found, allowance)


def _at_level_of(container_id: str, directory: Path) -> Path | None:
    for level in (directory, *directory.parents):
        if container_id in level.name:
            return level
    return None
