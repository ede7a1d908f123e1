"""Where a process is in the cgroup tree, on version 1 and 2, and how often the OOM killer struck there."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from cri.linux import syscalls as sys
from cri.linux.mounts import MountInfo, mount_table

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path("/sys/fs/cgroup")


@functools.cache
def version() -> Literal[1, 2]:
    """2 when the unified tree is mounted at /sys/fs/cgroup; the hybrid lay-out counts as 1."""
    return 2 if sys.filesystem_magic(ROOT) == sys.CGROUP2_SUPER_MAGIC else 1


def controllers() -> frozenset[str]:
    """The controllers that containers can be given: memory, cpu, pids, hugetlb, …"""
    if version() == 2:
        return frozenset((ROOT / "cgroup.controllers").read_text(encoding="ascii").split())
    return frozenset(_hierarchies()) - {"", "name=systemd"}


def unified_options() -> tuple[str, ...]:
    """The options of version 2's file system, of which there is one for the whole machine; none on version 1."""
    unified = _hierarchies().get("") if version() == 2 else None
    return () if unified is None else tuple(unified.super_options.split(","))


def cgroup_of(pid: int) -> dict[str, Path]:
    """The directory of a process's cgroup by controller; on version 2 the one key is the empty string.

    Controllers whose tree is not mounted are left out. Raises FileNotFoundError or ProcessLookupError when
    the process is gone.
    """
    hierarchies = _hierarchies()
    directories: dict[str, Path] = {}
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            for name in names.split(","):
                if name in hierarchies:
                    directories[name] = _below(hierarchies[name], path)
    return directories


def directory_of(cgroup: str, controller: str = "") -> Path | None:
    """The directory of the cgroup with path `cgroup` in the tree of `controller`; None where it is not there.

    On version 2 the controller is the empty string.
    """
    hierarchy = _hierarchies().get(controller)
    if hierarchy is None:
        return None
    directory = _below(hierarchy, f"/{cgroup.strip('/')}")
    return directory if directory.is_dir() else None


def directories_of(cgroup: str) -> list[Path]:
    """Where the cgroup with path `cgroup` is, or would be, in each tree that is mounted."""
    trees = {entry.mount_point: entry for entry in _hierarchies().values()}
    return [_below(tree, f"/{cgroup.strip('/')}") for tree in trees.values()]


@dataclass(frozen=True, slots=True)
class OomCounter:
    """The OOM-kill counter of the cgroup that a process was in when `of` was called.

    The counter outlives the process but not the cgroup: read it before the task is deleted. systemd takes a scope
    away as soon as its last process is gone, so that may be too late; version 2 also counts a kill in every cgroup
    above, and the pod's slice stays.
    """

    file: Path
    above_before: int = 0
    """What the counter of the cgroup above was at when `of` was called."""

    @classmethod
    def of(cls, pid: int) -> OomCounter | None:
        """Resolve while the process lives; None when it is gone or no memory controller counts it."""
        try:
            directories = cgroup_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            return None
        if "memory" in directories:
            return cls(directories["memory"] / "memory.oom_control")
        if version() == 2 and "" in directories:
            counter = cls(directories[""] / "memory.events")
            return cls(counter.file, counter._above() or 0)
        return None

    @classmethod
    def at(cls, cgroup: str) -> OomCounter | None:
        """The counter of the cgroup with this path, whose processes may have ended; None where it is gone."""
        name, controller = ("memory.oom_control", "memory") if version() == 1 else ("memory.events", "")
        directory = directory_of(cgroup, controller) if cgroup.strip("/") else None
        return None if directory is None else cls(directory / name)

    def kills(self) -> int | None:
        """Processes killed so far (on version 2 below it too); None when the cgroup is gone."""
        return _oom_kills_in(self.file)

    def kills_above(self) -> int:
        """Processes killed since `of` in the cgroup above and everywhere below that; 0 on version 1."""
        return max((self._above() or 0) - self.above_before, 0)

    def _above(self) -> int | None:
        return None if version() == 1 else _oom_kills_in(self.file.parent.parent / self.file.name)


def _oom_kills_in(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill":
            return int(value)
    return None


def oom_kills(pid: int) -> int | None:
    """The OOM kills in the cgroup of a living process, None when that cannot be known."""
    counter = OomCounter.of(pid)
    return None if counter is None else counter.kills()


@functools.cache
def _hierarchies() -> Mapping[str, MountInfo]:
    """The cgroup mounts by controller; the empty string is version 2's. They do not change while we run."""
    found: dict[str, MountInfo] = {}
    for entry in mount_table():
        if entry.filesystem_type == "cgroup2":
            found.setdefault("", entry)
        elif entry.filesystem_type == "cgroup":
            for option in entry.super_options.split(","):
                if option not in ("rw", "ro", "xattr", "clone_children", "noprefix"):
                    found.setdefault(option, entry)
    return found


def _below(hierarchy: MountInfo, path: str) -> Path:
    # Inside a container the mount shows a part of the tree while /proc names the whole path.
    root = hierarchy.root.rstrip("/")
    inside = path[len(root) :] if root and (path == root or path.startswith(root + "/")) else path
    return Path(hierarchy.mount_point, inside.lstrip("/"))
