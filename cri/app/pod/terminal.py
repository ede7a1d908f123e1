"""The terminal that this program runs in: raw while a remote one is shown in it, and its size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import termios
import tty
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@contextlib.contextmanager
def raw_terminal(descriptor: int = 0) -> Iterator[None]:
    """Pass every key on as it is, and restore everything at the end. Raises InvalidArgument without a terminal."""
    if not os.isatty(descriptor):
        raise InvalidArgument("standard input is not a terminal: leave out -t")
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def sizes(descriptor: int = 0) -> AsyncIterator[bytes]:
    """The terminal's size now and whenever it changes, as the resize channel takes it."""
    changed = asyncio.Event()
    changed.set()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            await changed.wait()
            changed.clear()
            width, height = os.get_terminal_size(descriptor)
            yield json.dumps({"Width": width, "Height": height}).encode()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
