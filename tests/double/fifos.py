"""The shim's side of a process's streams: FIFOs and files, opened as the runc shim opens them."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.double.refusals import unknown

READER_SECONDS = 30.0
"""How long the shim waits for somebody to read a FIFO before Create or Start fails."""

BLOCK = 65536


async def open_output(path: str) -> int | None:
    """A write end for stdout or stderr; None for an empty name, which stands for /dev/null.

    A FIFO is opened when a reader is there, as the real shim does, which deadlocks with clients that open
    theirs only after the call.
    """
    if not path:
        return None
    uri = urlsplit(path)
    if uri.scheme == "file":
        return os.open(uri.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if uri.scheme not in ("", "fifo"):
        raise unknown(f"failed to create init process I/O: unknown STDIO scheme {uri.scheme}")
    mode = _mode(uri.path)
    if mode is None:
        raise unknown(
            f'containerd-shim: opening file "{uri.path}" for writing failed: no such file or directory'
        )
    if not stat.S_ISFIFO(mode):
        return os.open(uri.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    async with asyncio.timeout(READER_SECONDS):
        while True:
            try:
                return os.open(uri.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            await asyncio.sleep(0.005)


def open_stdin(path: str) -> tuple[int, int] | None:
    """A read end, and the write end that keeps stdin open until CloseIO; None for /dev/null."""
    if not path:
        return None
    try:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise unknown(f"failed to open stdin fifo {path}: no such file or directory") from None
    return reader, os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


async def write_all(fd: int, data: bytes) -> None:
    """Write as fast as the reader takes it; without a reader the rest is lost, as with SIGPIPE ignored."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view[:BLOCK]) :]
        except BlockingIOError:
            await _until(fd, writable=True)
        except BrokenPipeError:
            return


async def read_chunks(fd: int) -> AsyncIterator[bytes]:
    """What is written to a FIFO until nobody can write to it any more."""
    while True:
        try:
            chunk = os.read(fd, BLOCK)
        except BlockingIOError:
            await _until(fd, writable=False)
            continue
        if not chunk:
            return
        yield chunk


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


async def _until(fd: int, *, writable: bool) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    watch, unwatch = (
        (loop.add_writer, loop.remove_writer) if writable else (loop.add_reader, loop.remove_reader)
    )
    watch(fd, event.set)
    try:
        await event.wait()
    finally:
        unwatch(fd)
