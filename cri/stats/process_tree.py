"""Processes of a container one by one: who they are, what they hold open, the limit on that."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from cri.stats.held_files import CgroupGoneError
from cri.stats.usage import ProcessDetails

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_LINKS = 512
"""Descriptors of a container that are looked at for being sockets; the share among the rest is taken to be the same."""
_OPEN_FILES = "Max open files"
_SOCKET = "socket:"
_LINKS_OF_A_LEAF = 2


def processes_below(directory: str) -> list[int]:
    """The processes of a cgroup and of those below it. Blocking. Raises CgroupGoneError."""
    numbers: list[int] = []
    try:
        for place in _with_cgroups_below(directory):
            with open(f"{place}/cgroup.procs", "rb", buffering=0) as file:
                numbers.extend(map(int, file.readall().split()))
    except FileNotFoundError:
        raise CgroupGoneError(directory) from None
    except OSError:  # ENODEV: it went while it was read; EOPNOTSUPP: a threaded cgroup, told by its parent
        if not os.path.isdir(directory):
            raise CgroupGoneError(directory) from None
    return numbers


def process_details(processes: Sequence[int]) -> ProcessDetails:
    """Count what the processes hold open. Blocking; processes that end meanwhile do not count."""
    descriptors = sockets = looked_at = 0
    for process in processes:
        directory = f"/proc/{process}/fd"
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        descriptors += len(names)
        for name in names[: max(MOST_LINKS - looked_at, 0)]:
            looked_at += 1
            try:
                sockets += os.readlink(f"{directory}/{name}").startswith(_SOCKET)
            except OSError:  # closed since
                pass
    if looked_at < descriptors and looked_at:
        sockets = round(sockets * descriptors / looked_at)
    return ProcessDetails(len(processes), descriptors, sockets, _open_files_limit(processes))


def _open_files_limit(processes: Sequence[int]) -> int | None:
    """The first process's soft limit."""
    if not processes:
        return None
    try:
        soft, _ = resource.prlimit(processes[0], resource.RLIMIT_NOFILE)
    except PermissionError:  # CAP_SYS_RESOURCE is missing
        return _limit_in_proc(processes[0])
    except OSError:
        return None
    return None if soft == resource.RLIM_INFINITY else soft


def _limit_in_proc(process: int) -> int | None:
    """The same from /proc/PID/limits (proc(5)), which anybody may read; the kernel writes a table for it."""
    try:
        with open(f"/proc/{process}/limits", encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(_OPEN_FILES):
            soft = line.removeprefix(_OPEN_FILES).split()[0]
            return int(soft) if soft.isdigit() else None
    return None


def _with_cgroups_below(directory: str) -> Iterable[str]:
    # A directory of the kernel's has two links and one for each directory in it; most containers make no cgroups.
    if os.stat(directory).st_nlink == _LINKS_OF_A_LEAF:
        return (directory,)
    return [place for place, _, _ in os.walk(directory)]
