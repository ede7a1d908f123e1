"""The client of a remote command, as the exec and attach sessions see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.stream.buffer import Buffer
from cri.stream.link import Link
from cri.stream.outcome import Outcome, as_status, as_text
from cri.stream.remote_command import (
    Channel,
    ClientLeft,
    CommandEvent,
    Ready,
    RemoteCommandProtocol,
    Resized,
    RoomMade,
    StdinBlock,
    StdinEnded,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cri.stream.endpoints import OutputName, TerminalSize
    from cri.stream.transport import Transport


class RemoteCommandClient:
    """Input in a bounded buffer, output with back-pressure, sizes, and the outcome at the end."""

    def __init__(self, transport: Transport, protocol: RemoteCommandProtocol, first: bytes) -> None:
        self._protocol = protocol
        self._link: Link[CommandEvent] = Link(transport, protocol, first)
        self._stdin = Buffer()
        self._room = asyncio.Event()
        self._size: TerminalSize | None = None
        self._resized = asyncio.Event()
        self.ready = asyncio.Event()
        """All streams are there."""
        self.gone = self._link.gone
        """The client has left: nothing reaches it any more and nothing comes."""

    async def listen(self) -> None:
        """Take in what the client does until it is gone; runs beside everything else."""
        async for event in self._link.events():
            match event:
                case StdinBlock(block):
                    await self._stdin.put(block)
                case StdinEnded():
                    self._stdin.end()
                case Resized(size):
                    self._size = size
                    self._resized.set()
                case RoomMade():
                    self._room.set()
                case Ready():
                    self.ready.set()
                case ClientLeft():
                    self.gone.set()
        self._stdin.end()
        self._room.set()

    async def copy_stdin(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over all input to `write` until its end; input is dropped once `write` raises BrokenPipeError."""
        while block := await self._stdin.get():
            try:
                await write(block)
            except BrokenPipeError:
                self._stdin.close()
            self._protocol.consumed(len(block))
            await self._link.answer()

    async def copy_sizes(self, resize: Callable[[TerminalSize], Awaitable[None]]) -> None:
        """Hand over the terminal's size whenever it changes, for ever; only the newest counts."""
        while True:
            await self._resized.wait()
            self._resized.clear()
            if self._size is not None:
                await resize(self._size)

    async def output(self, name: OutputName, block: bytes) -> None:
        """Send output, waiting while the client is slow. Dropped when it is gone."""
        await self._send(name, block)

    async def end_output(self, name: OutputName) -> None:
        """Nothing more comes on this output."""
        self._protocol.end(name)
        await self._link.flush()

    async def tell(self, outcome: Outcome) -> None:
        """Tell how it ended and say farewell; nothing may be sent after."""
        self._stdin.close()  # else `listen` may wait for room in it, and not hear of room for this
        render = as_status if self._protocol.version.json_status else as_text
        await self._send("error", render(outcome))
        await self._link.farewell()

    async def _send(self, channel: Channel, block: bytes) -> None:
        view = memoryview(block)
        while view and not self.gone.is_set():
            room = self._protocol.room(channel)
            if not room:
                self._room.clear()
                await self._room.wait()
                continue
            self._protocol.send(channel, view[:room])
            view = view[room:]
            await self._link.flush()
