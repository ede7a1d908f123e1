"""An exec session: a process whose streams are a client's.

    client ready ──> process starts ──┬── stdin ──> process          half-close: end of file, nothing else
                                      ├── sizes ──> terminal
                                      ├── stdout, stderr ──> client  a slow client makes the process wait
                                      └── exit code
    all output has been sent ──> outcome ──> close, and the process is removed

A client that vanishes ends its process: input ends, output is read and dropped, and the process is told to go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, get_args

import structlog

from cri.stream.endpoints import OutputName
from cri.stream.outcome import Ended
from cri.stream.remote_command_session import serve_command

if TYPE_CHECKING:
    from cri.stream.endpoints import ExecCall, ProcessStreams
    from cri.stream.remote_command_client import RemoteCommandClient

log = structlog.get_logger(__name__)

OUTPUTS: Final[tuple[OutputName, ...]] = get_args(OutputName)


async def serve_exec(client: RemoteCommandClient, call: ExecCall) -> None:
    """Serve one client from its streams to the outcome."""

    async def work() -> None:
        async with call.start() as process:
            await client.tell(Ended(await _converse(client, process)))

    await serve_command(client, work)


async def _converse(client: RemoteCommandClient, process: ProcessStreams) -> int:
    async with asyncio.TaskGroup() as group:
        supporting = [
            group.create_task(_stdin(client, process)),
            group.create_task(client.copy_sizes(process.resize)),
            group.create_task(_abandon(client, process)),
        ]
        outputs = [group.create_task(_output(client, process, name)) for name in OUTPUTS]
        exit_code = await process.wait()
        await asyncio.gather(*outputs)
        for task in supporting:
            task.cancel()
    return exit_code


async def _stdin(client: RemoteCommandClient, process: ProcessStreams) -> None:
    await client.copy_stdin(process.write_stdin)
    await process.close_stdin()


async def _output(client: RemoteCommandClient, process: ProcessStreams, name: OutputName) -> None:
    while block := await process.read(name):
        await client.output(name, block)
    await client.end_output(name)


async def _abandon(client: RemoteCommandClient, process: ProcessStreams) -> None:
    await client.gone.wait()
    log.info("client of an exec is gone, ending its process")
    await process.abandon()
