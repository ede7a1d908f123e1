"""The process of an exec session: a program in a container whose streams are read and written through FIFOs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import errors as containerd_errors
from cri.container.exec_process import ExecProcess
from cri.container.fifo_streams import FifoReader, FifoWriter
from cri.errors import FailedPrecondition
from cri.linux import fifo
from cri.oci.exec_process import ExecRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cri.container.engine import Engine
    from cri.state.container import Container
    from cri.stream.endpoints import OutputName, Streams, TerminalSize

log = structlog.get_logger(__name__)

HANG_UP_SECONDS: Final = 5.0
"""How long a process may go on after its client is gone."""


@contextlib.asynccontextmanager
async def exec_stream(
    engine: Engine, container: Container, command: tuple[str, ...], streams: Streams
) -> AsyncIterator[ContainerProcess]:
    """Run `command` until the context is left, which removes it.

    Raises FailedPrecondition when the container does not run or the command cannot be started in it.
    """
    outputs: tuple[OutputName, ...] = ("stdout",) if streams.terminal else ("stdout", "stderr")
    names = ("stdin", *outputs) if streams.stdin else outputs
    process = ExecProcess(engine, container, names)
    with process.fifos(), contextlib.ExitStack() as opened:
        readers: dict[OutputName, FifoReader] = {}
        for name in outputs:
            readers[name] = FifoReader(process.path(name))
            opened.callback(readers[name].close)
        stdin = None
        if streams.stdin:
            guard, descriptor = fifo.open_both(process.path("stdin"))
            stdin = FifoWriter(descriptor, guard)
            opened.callback(stdin.close)
        async with process:
            try:
                await process.start(ExecRequest(command, terminal=streams.terminal))
            except containerd_errors.ContainerdError as error:
                raise FailedPrecondition(
                    f"{command[0]!r} cannot be started in {container}: {error}"
                ) from error
            yield ContainerProcess(process, stdin, readers, engine.settings.drain_exec_sync_io_timeout)


class ContainerProcess:
    """See cri.stream.endpoints.ProcessStreams."""

    def __init__(
        self,
        process: ExecProcess,
        stdin: FifoWriter | None,
        outputs: Mapping[OutputName, FifoReader],
        drain_seconds: float,
    ) -> None:
        """`drain_seconds`: how long output is waited for that a child in the background holds open; 0 for ever."""
        self._process = process
        self._stdin = stdin
        self._outputs = outputs
        self._drain_seconds = drain_seconds

    async def write_stdin(self, block: bytes) -> None:
        """Hand over `block`, waiting while the process does not read."""
        if self._stdin is None:
            raise BrokenPipeError("no stdin was asked for")
        await self._stdin.write(block)

    async def close_stdin(self) -> None:
        """Let the process see end of file. On a terminal it sees none, input only stops."""
        if self._stdin is None:
            return
        self._stdin.close()
        await self._process.close_stdin()
        self._stdin = None

    async def read(self, name: OutputName) -> bytes:
        """The next block of an output."""
        reader = self._outputs.get(name)
        return b"" if reader is None else await reader.read()

    async def resize(self, size: TerminalSize) -> None:
        """Set the terminal's size."""
        if "stderr" not in self._outputs:
            await self._process.resize(size.width, size.height)

    async def wait(self) -> int:
        """The exit code, once the process has ended; output may still be waiting to be read."""
        exit_ = await self._process.exit()
        if self._drain_seconds:
            asyncio.get_running_loop().call_later(self._drain_seconds, self._close_outputs)
        return exit_.status

    async def abandon(self) -> None:
        """Hang up on the process and its children, as a closing terminal does, and kill what does not take the hint."""
        await self._process.signal_session(signal.SIGHUP)
        try:
            await asyncio.wait_for(self._process.exit(), HANG_UP_SECONDS)
        except TimeoutError:
            await self._process.kill()
            await self._process.exit()
        self._close_outputs()

    def _close_outputs(self) -> None:
        for reader in self._outputs.values():
            reader.close()
