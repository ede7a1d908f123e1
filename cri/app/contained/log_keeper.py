"""Ends the log keeper of a server whose container is gone for good, as soon as it has nothing left to write."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final, cast

from cri.app.log_keeper_cgroup import vacated
from cri.linux.cgroup_places import processes_in
from cri.linux.process import command_line, exited
from cri.logs.calls import connect
from cri.logs.protocol import VERSION

if TYPE_CHECKING:
    from cri.logs.values import Counters

END_SECONDS: Final = 10.0


async def retire(cgroup: str) -> list[str]:
    """End the log keeper in this cgroup unless a container may still write, and remove the cgroup.

    Idempotent; answers what stays, and why.
    """
    remarks = [remark for pid in sorted(processes_in(cgroup)) if (remark := await _end(pid)) is not None]
    if not remarks and not await vacated(cgroup):
        remarks.append(f"cgroup {cgroup} is still in use")
    return remarks


async def _end(pid: int) -> str | None:
    socket = _socket(command_line(pid))
    if socket is None:
        return f"process {pid} stays: it is no log keeper"
    try:
        keeper = await connect(socket)
    except OSError as error:
        return f"log keeper {pid} stays: it does not answer at {socket}: {error}"
    try:
        async with asyncio.timeout(END_SECONDS):
            if keeper.version != VERSION:
                return f"log keeper {pid} stays: it is of another version"
            counters = cast("dict[str, Counters]", await keeper.request("statistics"))
            if writing := sum(not each["finished"] for each in counters.values()):
                return (
                    f"log keeper {pid} writes on, containers: {writing}; remove again when they are no more"
                )
            await keeper.request("shutdown")
    except (ConnectionError, TimeoutError):
        pass  # whether it has ended is seen below
    finally:
        keeper.abort()
    return None if await exited(pid, END_SECONDS) else f"log keeper {pid} stays: it does not end"


def _socket(command: list[str]) -> str | None:
    """Where the log keeper with this command line listens."""
    return next((value for option, value in itertools.pairwise(command) if option == "--socket"), None)
