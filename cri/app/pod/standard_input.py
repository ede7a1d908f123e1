"""Standard input for a program that also waits for other things.

Read by a thread, because a regular file cannot be polled; the thread is a daemon, because a read that waits for a key
cannot be cut off and must not keep the program from ending.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BLOCK_BYTES: Final = 128 << 10
MOST_BLOCKS: Final = 4


async def standard_input(descriptor: int = 0) -> AsyncIterator[bytes]:
    """Blocks until the end of the input; the thread waits while nobody takes them."""
    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[bytes] = asyncio.Queue(MOST_BLOCKS)

    def read() -> None:
        block = b"first"
        while block:
            try:
                block = os.read(descriptor, BLOCK_BYTES)
            except OSError:
                block = b""
            try:
                asyncio.run_coroutine_threadsafe(blocks.put(block), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return  # the program is ending

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while block := await blocks.get():
        yield block
