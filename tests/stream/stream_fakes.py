"""What sessions talk to, in memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from cri.errors import FailedPrecondition
from cri.stream.endpoints import ExecCall, OutputName, Streams, TerminalSize

Program = Callable[["FakeProcess"], Awaitable[int]]


class FakeProcess:
    """A process whose program is a coroutine. Its pipes hold one block each."""

    def __init__(self) -> None:
        self.stdin: asyncio.Queue[bytes] = asyncio.Queue(1)
        self.outputs: dict[OutputName, asyncio.Queue[bytes]] = {
            "stdout": asyncio.Queue(1),
            "stderr": asyncio.Queue(1),
        }
        self.sizes: list[TerminalSize] = []
        self.abandoned = asyncio.Event()
        self.removed = asyncio.Event()
        self.started = asyncio.Event()
        self.stdin_broken = False
        self.stdin_ended = 0
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def write_stdin(self, block: bytes) -> None:
        if self.stdin_broken:
            raise BrokenPipeError
        await self.stdin.put(block)

    async def close_stdin(self) -> None:
        self.stdin_ended += 1
        if not self.stdin_broken and self.stdin_ended == 1:
            await self.stdin.put(b"")

    async def read(self, name: OutputName) -> bytes:
        return await self.outputs[name].get()

    async def resize(self, size: TerminalSize) -> None:
        self.sizes.append(size)

    async def wait(self) -> int:
        return await asyncio.shield(self.exit_code)

    async def abandon(self) -> None:
        self.abandoned.set()
        await asyncio.shield(self.exit_code)

    # What programs call.

    async def write(self, block: bytes, name: OutputName = "stdout") -> None:
        await self.outputs[name].put(block)


def fake_exec(program: Program, streams: Streams) -> tuple[ExecCall, list[FakeProcess]]:
    """A call that runs `program`, and the list where its process will be found."""
    processes: list[FakeProcess] = []

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[FakeProcess]:
        process = FakeProcess()
        processes.append(process)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_run(program, process))
            process.started.set()
            try:
                yield process
            finally:
                running.cancel()
                process.removed.set()

    return ExecCall(streams, start), processes


async def _run(program: Program, process: FakeProcess) -> None:
    code = await program(process)
    process.stdin_broken = True
    process.exit_code.set_result(code)
    for name in ("stdout", "stderr"):
        await process.outputs[name].put(b"")


class FakeContainer:
    """An attached container: what is put into `live` comes out, None is its end."""

    def __init__(self) -> None:
        self.live: asyncio.Queue[tuple[OutputName, bytes] | None] = asyncio.Queue()
        self.written = bytearray()
        self.sizes: list[TerminalSize] = []
        self.stdin_ends = 0
        self.detached = 0
        self.stdin_once = False
        self.changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def attach(self) -> AsyncIterator[FakeContainer]:
        try:
            yield self
        finally:
            self.detached += 1
            self.changed.set()

    async def output(self) -> AsyncIterator[tuple[OutputName, bytes]]:
        while (item := await self.live.get()) is not None:
            yield item

    async def write_stdin(self, block: bytes) -> None:
        self.written += block
        self.changed.set()

    async def end_stdin(self) -> bool:
        self.stdin_ends += 1
        self.changed.set()
        return self.stdin_once

    async def resize(self, size: TerminalSize) -> None:
        self.sizes.append(size)
        self.changed.set()


class LoopbackDialler:
    """Dials ports of this machine instead of a pod's."""

    def __init__(self) -> None:
        self.dialled: list[int] = []

    async def dial(self, port: int) -> socket.socket:
        self.dialled.append(port)
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        except BaseException as error:
            made.close()
            if isinstance(error, OSError):
                raise FailedPrecondition(f"port {port} cannot be reached: {error.strerror}") from None
            raise
        return made
