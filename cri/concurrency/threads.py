"""Blocking work off the loop that is never left running behind a caller's back.

`asyncio.to_thread` returns to a cancelled caller at once while its thread goes on: an undo step would then run beside
the work that it undoes, and lose. Anything that changes files or mounts therefore goes through `finished_in_thread`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cri.concurrency.finishing import finished

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


async def finished_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a pool thread; a cancelled caller waits for its end before the cancellation goes on."""
    return await finished(asyncio.to_thread(function, *args, **kwargs))
