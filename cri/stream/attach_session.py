"""An attach session: a client sees a container's output from now on and writes into its stdin beside other clients.

It ends with success when the container ends, or soon after the client's input has ended where the container's stdin
stays open for others. That a client leaves does not concern the container beyond its input (`AttachSource.end_stdin`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cri.stream.exec_session import OUTPUTS
from cri.stream.outcome import Ended
from cri.stream.remote_command_session import serve_command

if TYPE_CHECKING:
    from cri.stream.endpoints import AttachCall, AttachSource
    from cri.stream.remote_command_client import RemoteCommandClient

ANSWER_SECONDS: Final = 1.0
"""What the container writes in answer to the last of the input is still sent for so long."""


async def serve_attach(client: RemoteCommandClient, call: AttachCall) -> None:
    """Serve one client from its streams to the end of the container, or until it leaves."""

    async def work() -> None:
        async with call.start() as source:
            await _converse(client, source)
            await client.tell(Ended())

    await serve_command(client, work)


async def _converse(client: RemoteCommandClient, source: AttachSource) -> None:
    async with asyncio.TaskGroup() as group:
        stdin = group.create_task(_stdin(client, source))
        sizes = group.create_task(client.copy_sizes(source.resize))
        ends = [
            group.create_task(_output(client, source)),
            group.create_task(_detach(stdin)),
            group.create_task(client.gone.wait()),
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if client.gone.is_set():  # what it wrote before is passed on, if the container takes it at all
            await asyncio.wait([stdin], timeout=ANSWER_SECONDS)
        for task in (stdin, sizes, *ends):
            task.cancel()
    for name in OUTPUTS:
        await client.end_output(name)


async def _stdin(client: RemoteCommandClient, source: AttachSource) -> bool:
    """Whether the client stays after its input has ended."""
    await client.copy_stdin(source.write_stdin)
    return await source.end_stdin()


async def _detach(stdin: asyncio.Task[bool]) -> None:
    """Ends soon after the input if the client does not stay, else never."""
    if await stdin:
        await asyncio.Event().wait()
    await asyncio.sleep(ANSWER_SECONDS)


async def _output(client: RemoteCommandClient, source: AttachSource) -> None:
    async for name, block in source.output():
        await client.output(name, block)
