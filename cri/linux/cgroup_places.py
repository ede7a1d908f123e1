"""Makes a cgroup in every tree that is mounted, moves a process into it, and takes it away again.

A process is in one cgroup of each tree: the one tree of version 2, or version 1's one for every controller and the
named ones. Who ends all processes of a cgroup looks at one of them, which one is theirs to choose, so a process that is
to be spared has to be elsewhere in all.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from cri.linux.cgroups import directories_of

if TYPE_CHECKING:
    from pathlib import Path

_INHERITED: Final = ("cpuset.cpus", "cpuset.mems")
"""Version 1 has these empty in a new cgroup, and lets no process in before they are set."""


def enter(cgroup: str, pid: int) -> None:
    """Move a process, with all its threads, into the cgroup with path `cgroup`, which is made where it is missing.

    Idempotent. Raises ProcessLookupError when the process is gone, another OSError when the trees cannot be written to.
    """
    for directory in directories_of(cgroup):
        _make(directory)
        (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")


def processes_in(cgroup: str) -> frozenset[int]:
    """The processes that are in it in any tree; those of another PID namespace are left out."""
    found: set[int] = set()
    for directory in directories_of(cgroup):
        with contextlib.suppress(FileNotFoundError):
            found.update(map(int, (directory / "cgroup.procs").read_text(encoding="ascii").split()))
    return frozenset(found - {0})


def remove(cgroup: str) -> None:
    """Take it away from every tree; idempotent. Raises OSError (EBUSY) while a process, or a cgroup, is in it."""
    for directory in directories_of(cgroup):
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()


def _make(directory: Path) -> None:
    if not directory.parent.is_dir():
        _make(directory.parent)
    directory.mkdir(exist_ok=True)
    for name in _INHERITED:
        own, above = directory / name, directory.parent / name
        if own.exists() and above.exists() and not own.read_text(encoding="ascii").strip():
            own.write_text(above.read_text(encoding="ascii"), encoding="ascii")
