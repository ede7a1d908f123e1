"""A program in a terminal of its own, typed to and read from as somebody who sits before it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

BLOCK_BYTES = 65536
ANSWER_SECONDS = 30.0


class Terminal:
    """The screen and keyboard of one program."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self.screen = b""
        """Everything that was written so far."""
        self.process = process
        self._descriptor = descriptor
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, text)

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size, which the program is told by a signal."""
        _set_size(self._descriptor, rows, columns)

    async def until(self, text: bytes) -> None:
        """Wait until something was written."""
        try:
            async with asyncio.timeout(patiently(ANSWER_SECONDS)):
                while text not in self.screen:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} was not written, but {self.screen!r}") from None

    async def ended(self) -> int:
        """Wait for the end of the program; its exit code."""
        async with asyncio.timeout(patiently(ANSWER_SECONDS)):
            return await self.process.wait()

    def close(self) -> None:
        """Read no more."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            self.screen += os.read(self._descriptor, BLOCK_BYTES)
        except OSError:  # the program was the last that had it open
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._changed.set()


@contextlib.asynccontextmanager
async def terminal(
    *command: str, rows: int = 24, columns: int = 80, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Terminal]:
    """Run a command in a terminal; it is killed at the end of the block if it still runs."""
    outer, inner = os.openpty()
    _set_size(outer, rows, columns)
    try:
        process = await asyncio.create_subprocess_exec(
            *("setsid", "--ctty", "--wait", *command),
            stdin=inner,
            stdout=inner,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    finally:
        os.close(inner)
    opened = Terminal(outer, process)
    try:
        yield opened
    finally:
        opened.close()  # hangs up on the program
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _set_size(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
