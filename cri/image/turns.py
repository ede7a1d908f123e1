"""One thing at a time, the lowest rank first: how a pull's downloads share the way into containerd.

Layers are unpacked from the bottom up, one after the other, and on a fast network that is what takes longest. A layer
that is complete early is therefore worth more than three that are half there. So where several downloads
have a block to hand over, the lowest layer's goes first; where the network is slow, there is rarely more than one
block waiting, and all downloads run at their full speed.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """A lock whose next holder is the waiter of the lowest rank; equal ranks in the order in which they came."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        """Hold the lock for the block."""
        if self._taken:
            await self._wait(rank)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, rank: int) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._arrivals), called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Call the next one in, who finds the lock still taken and so cannot be overtaken."""
        while self._waiting:
            _, _, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return
        self._taken = False
