"""FIFOs as streams on the event loop: read with demand, written with patience."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING, Final

from cri.linux import fifo

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES: Final = 256 << 10
PIPE_BYTES: Final = 256 << 10
"""A larger pipe than the kernel's 64 KiB means fewer and larger blocks."""


class FifoReader:
    """The read end. While nobody reads, the pipe fills and its writer waits."""

    def __init__(self, path: Path) -> None:
        """Open it; whoever writes may come later."""
        self._descriptor = fifo.open_reader(path)
        self._begun = False
        self._waiter: asyncio.Future[None] | None = None
        _widen(self._descriptor)

    async def read(self) -> bytes:
        """The next block; empty when every writer has closed, and after `close`."""
        while self._descriptor >= 0:
            # Before the first writer comes a read says end-of-file, while epoll stays silent.
            if self._begun:
                try:
                    block = os.read(self._descriptor, BLOCK_BYTES)
                except BlockingIOError:
                    pass
                else:
                    if not block:
                        self.close()
                    return block
            await self._readable()
            self._begun = True
        return b""

    def close(self) -> None:
        """Close it; a read that waits ends. Idempotent."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        loop.add_reader(self._descriptor, _resolve, self._waiter)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._descriptor >= 0:
                loop.remove_reader(self._descriptor)


class FifoWriter:
    """A write end; several of one FIFO do not disturb each other.

    A shim opens its read end some time after it has said that the process runs, and what is written before would fail.
    So a writer that comes first holds a read end of its own until the shim is seen to have read.
    """

    def __init__(self, descriptor: int, guard: int = -1) -> None:
        """Takes over a non-blocking write end, and a read end where the reader may be yet to come."""
        self._descriptor = descriptor
        self._guard = guard
        self._waiting = 0
        """Bytes in the pipe after the last write, as long as nobody else reads; meaningless without the guard."""
        self._waiter: asyncio.Future[None] | None = None
        _widen(descriptor)

    async def write(self, block: bytes) -> None:
        """Write it, waiting while the pipe is full. Raises BrokenPipeError without a reader and after `close`."""
        view = memoryview(block)
        while view:
            if self._descriptor < 0:
                raise BrokenPipeError("closed")
            self._look_for_reader()
            try:
                written = os.write(self._descriptor, view)
            except BlockingIOError:
                await self._writable()
                continue
            view = view[written:]
            self._waiting += written

    def close(self) -> None:
        """Close it; a write that waits fails. Idempotent."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        self._drop_guard()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look_for_reader(self) -> None:
        if self._guard < 0:
            return
        in_pipe = struct.unpack("i", fcntl.ioctl(self._guard, termios.FIONREAD, bytes(4)))[0]
        if in_pipe < self._waiting:
            self._drop_guard()
        self._waiting = in_pipe

    def _drop_guard(self) -> None:
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        loop.add_writer(self._descriptor, _resolve, self._waiter)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._descriptor >= 0:
                loop.remove_writer(self._descriptor)


def _widen(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the user's share of pipe memory is used up
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
