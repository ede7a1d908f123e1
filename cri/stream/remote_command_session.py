"""What exec and attach sessions have in common: wait for the client's streams, do the work, tell how it ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from cri.concurrency.together import first_cause
from cri.errors import CriError
from cri.stream.outcome import Failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cri.stream.remote_command_client import RemoteCommandClient

log = structlog.get_logger(__name__)

STREAMS_SECONDS: Final = 30.0
"""How long a client may take to open its streams."""


async def serve_command(client: RemoteCommandClient, work: Callable[[], Awaitable[None]]) -> None:
    """Serve one client from its streams to the outcome. `work` tells that itself, unless it raises an error."""
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(client.listen())
        if await _streams_are_there(client):
            await _perform(client, work)
        else:
            await client.tell(Failed(f"the client did not open its streams within {STREAMS_SECONDS:g} s"))
        listening.cancel()


async def _streams_are_there(client: RemoteCommandClient) -> bool:
    """Wait for the client's streams; False if it does not open them or leaves."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.ready.wait()), group.create_task(client.gone.wait())]
        await asyncio.wait(waiting, timeout=STREAMS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    return client.ready.is_set()


async def _perform(client: RemoteCommandClient, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception as error:
        cause = first_cause(error)
        if isinstance(cause, CriError):
            await client.tell(Failed(cause.message))
        else:
            log.exception("internal error in a stream session")
            await client.tell(Failed(f"internal error: {cause!r}"))
