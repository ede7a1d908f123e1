"""Blocks that wait for a slower consumer: a bounded queue counted in bytes."""

from __future__ import annotations

import asyncio
from typing import Final

MOST_BYTES: Final = 1 << 20


class Buffer:
    """One producer puts, one consumer gets. `end` is seen after everything that was put before."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._blocks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._closed = False
        self._changed = asyncio.Event()

    async def put(self, block: bytes) -> None:
        """Add a block, waiting while too much waits already. Dropped after `end` and `close`."""
        while self._size >= self._most and not self._closed:
            await self._change()
        if not self._ended and not self._closed:
            self._blocks.append(block)
            self._size += len(block)
            self._changed.set()

    async def get(self) -> bytes:
        """Everything that waits, as one block, because one large write costs less than many; empty at the end."""
        while not self._blocks:
            if self._ended or self._closed:
                return b""
            await self._change()
        block = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        self._blocks.clear()
        self._size = 0
        self._changed.set()
        return block

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """The consumer wants no more: everything is dropped and the producer never waits again."""
        self._closed = True
        self._blocks.clear()
        self._size = 0
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
