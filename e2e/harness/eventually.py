"""Waiting for something that nobody announces, with an explanation when it does not come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PAUSE_SECONDS = patiently(0.01)


async def eventually(
    look: Callable[[], Awaitable[T]],
    wanted: Callable[[T], bool],
    what: str,
    seconds: float = patiently(10.0),
) -> T:
    """Look again and again until what is seen is wanted, and return it; else show the last sight."""
    deadline = asyncio.get_running_loop().time() + seconds
    seen = await look()
    while not wanted(seen):
        assert asyncio.get_running_loop().time() < deadline, f"{what} not within {seconds:.0f} s, but: {seen}"
        await asyncio.sleep(PAUSE_SECONDS)
        seen = await look()
    return seen
