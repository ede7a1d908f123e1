"""An attach session: a client sees a container's output from now on and writes into its stdin beside other clients.

It ends with success when the container ends. That a client ends its input does not end the session; that it leaves
does not concern the container beyond its input (`AttachSource.end_stdin`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.stream.exec_session import OUTPUTS
from cri.stream.outcome import Ended
from cri.stream.remote_command_session import serve_command

if TYPE_CHECKING:
    from cri.stream.endpoints import AttachCall, AttachSource
    from cri.stream.remote_command_client import RemoteCommandClient


async def serve_attach(client: RemoteCommandClient, call: AttachCall) -> None:
    """Serve one client from its streams to the end of the container, or until it leaves."""

    async def work() -> None:
        async with call.start() as source:
            await _converse(client, source)
            await client.tell(Ended())

    await serve_command(client, work)


async def _converse(client: RemoteCommandClient, source: AttachSource) -> None:
    async with asyncio.TaskGroup() as group:
        supporting = [
            group.create_task(_stdin(client, source)),
            group.create_task(client.copy_sizes(source.resize)),
        ]
        ends = [group.create_task(_output(client, source)), group.create_task(client.gone.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if client.gone.is_set():
            await asyncio.wait(
                supporting[:1]
            )  # what the client wrote before it left, and the end of its input
        for task in (*supporting, *ends):
            task.cancel()
    for name in OUTPUTS:
        await client.end_output(name)


async def _stdin(client: RemoteCommandClient, source: AttachSource) -> None:
    await client.copy_stdin(source.write_stdin)
    await source.end_stdin()


async def _output(client: RemoteCommandClient, source: AttachSource) -> None:
    async for name, block in source.output():
        await client.output(name, block)
