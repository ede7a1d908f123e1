"""The log keeper's own cgroup (`log_keeper_cgroup`): the keeper is moved there, and it goes when the keeper is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from cri.linux import cgroup_places

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 20
_PAUSE_SECONDS: Final = 0.05


def settler(cgroup: str) -> Callable[[int], None] | None:
    """Moves a log keeper to `cgroup`, for LogKeeper; None where it is to stay where it is.

    A keeper that cannot be moved still works, and is told of: the end of the server may be its end.
    """
    if not cgroup:
        return None

    def settle(pid: int) -> None:
        try:
            cgroup_places.enter(cgroup, pid)
        except OSError as error:
            log.warning("log keeper is not in a cgroup of its own", pid=pid, cgroup=cgroup, error=str(error))

    return settle


async def vacated(cgroup: str) -> bool:
    """Remove the cgroup; False while somebody is in it. A process that has just ended takes the kernel a moment."""
    for _ in range(_ATTEMPTS):
        try:
            await asyncio.to_thread(cgroup_places.remove, cgroup)
        except OSError:
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False
