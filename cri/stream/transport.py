"""One accepted connection, plain or TLS: blocks in, blocks out, with back-pressure both ways. Knows no protocol.

Reading is by demand: while nobody asks for more, the kernel's buffer fills and the peer waits. Writing waits while the
peer does not read. Closing is in good order: what was written is delivered first, then our end, and what the peer
still sends is thrown away until it closes too, because closing a socket with unread data makes the kernel discard what
the peer has not read yet.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_WAITING_BYTES: Final = 256 << 10
"""Received and not asked for yet."""
MOST_UNSENT_BYTES: Final = 256 << 10
MOST_UNREAD_ANSWER_BYTES: Final = 64 << 10
"""Of answers, beyond MOST_UNSENT_BYTES, to a peer that sends and does not read."""
LINGER_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 15
_ESTABLISHED: Final = 1
"""The state TCP_ESTABLISHED in the first byte of TCP_INFO (tcp(7))."""


class Transport(asyncio.Protocol):
    """Made by the loop for each connection; `receive`, `send`, `close` are for one task each at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._blocks: collections.deque[bytes] = collections.deque()
        self._waiting = 0
        self._ended = False
        self._lost = asyncio.Event()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        self._unread_answers = 0
        self.last_activity = self._loop.time()
        """When bytes last moved in either direction, by the loop's clock."""
        self.on_lost: Callable[[], None] | None = None
        """Called once when the connection is gone for both directions, whoever waits for what."""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone for both directions."""
        return self._lost.is_set()

    @property
    def peer(self) -> str:
        """The peer's address, for logs."""
        return "gone" if self._transport is None else str(self._transport.get_extra_info("peername"))

    @property
    def deserted(self) -> bool:
        """Whether the peer has left behind bytes that nobody asks for.

        While reading is paused, for a process that does not read its input, the loop does not hear of the peer's end.
        """
        if not self._paused or self._transport is None:
            return False
        raw = self._transport.get_extra_info("socket")
        return bool(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED)

    async def receive(self) -> bytes:
        """The next block, empty at the end of what the peer sends and when the connection is lost."""
        while not self._blocks:
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        block = self._blocks.popleft()
        self._waiting -= len(block)
        if self._waiting < MOST_WAITING_BYTES:
            self._resume()
        return block

    async def send(self, blocks: Iterable[bytes]) -> None:
        """Write all blocks, in order even when several tasks send; then wait while too much is unsent.

        Everybody else has a turn in between, even where a fast client and a fast source never make the sender wait.
        Raises ConnectionResetError when the connection is lost.
        """
        if self._transport is not None and not self._lost.is_set():
            self._write(self._transport, blocks)
            await asyncio.sleep(0)
        await self._until_writable()

    async def answer(self, blocks: Iterable[bytes]) -> None:
        """Write all blocks, which are small, and wait only once MOST_UNREAD_ANSWER_BYTES of such blocks are unsent.

        Who receives must not wait for the peer to read: the peer may be waiting for it to go on receiving.
        Raises ConnectionResetError when the connection is lost.
        """
        if self._transport is not None and not self._lost.is_set():
            written = self._write(self._transport, blocks)
            if not self._writable.is_set():
                self._unread_answers += written
        if self._unread_answers > MOST_UNREAD_ANSWER_BYTES or self._lost.is_set():
            await self._until_writable()

    def _write(self, transport: asyncio.Transport, blocks: Iterable[bytes]) -> int:
        data = b"".join(blocks)  # one system call and one segment for a header and its data
        transport.write(data)
        self.last_activity = self._loop.time()
        return len(data)

    async def _until_writable(self) -> None:
        if not self._writable.is_set():
            await self._writable.wait()
            self.last_activity = self._loop.time()
        if self._lost.is_set():
            raise ConnectionResetError("the client is gone")

    async def close(self) -> None:
        """Close in good order, but within LINGER_SECONDS."""
        transport = self._transport
        if transport is None:
            return
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                if transport.can_write_eof():
                    transport.write_eof()
                else:
                    transport.close()  # TLS sends its own farewell, and then reads on by itself
                while not self._ended:
                    self._blocks.clear()
                    self._waiting = 0
                    self._resume()
                    self._arrived.clear()
                    await self._arrived.wait()
        except (TimeoutError, OSError):
            pass
        finally:
            if transport.get_write_buffer_size():
                transport.abort()
            transport.close()
            self._ended = True

    def abort(self) -> None:
        """Close at once; `receive` then ends and `send` raises."""
        if self._transport is not None:
            self._transport.abort()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, and is encrypted if it should be."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MOST_UNSENT_BYTES)
        raw = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self.last_activity = self._loop.time()
        self._blocks.append(data)
        self._waiting += len(data)
        self._arrived.set()
        if self._waiting >= MOST_WAITING_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer sends no more; our direction stays open, except that TLS knows no such thing."""
        self._ended = True
        self._arrived.set()
        return self._transport is not None and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes or goes any more."""
        self._ended = True
        self._lost.set()
        self._arrived.set()
        self._writable.set()
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        """Too much is unsent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Enough has been sent."""
        self._unread_answers = 0
        self._writable.set()
