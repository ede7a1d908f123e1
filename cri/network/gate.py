"""Lets attaching and detaching go on together, and garbage collection only alone.

The CNI specification (section 3, life cycle) forbids GC beside any ADD or DEL: a plugin would take the half-made
attachment for garbage.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from cri.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """Many may be `together` inside, or one `alone`. Leaving never waits, so it cannot be interrupted."""

    def __init__(self) -> None:
        self._inside = 0
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Enter as one of many; waits while somebody is alone inside, or about to be."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @contextlib.asynccontextmanager
    async def alone(self, patience_seconds: float) -> AsyncIterator[None]:
        """Enter when nobody else is inside. Raises Unavailable if that takes too long, so as not to hold up pods."""
        if not self._open.is_set():
            raise Unavailable("CNI garbage collection is already under way")
        self._open.clear()
        try:
            try:
                async with asyncio.timeout(patience_seconds):
                    await self._empty.wait()
            except TimeoutError:
                raise Unavailable(
                    "pods are being attached or detached; CNI garbage collection has to wait"
                ) from None
            yield
        finally:
            self._open.set()
