"""Work that must come to its end, whatever happens to the caller who waits for it.

A call that is cut off in the middle may still take effect where it was sent, after the roll-back has looked for its
effect and found none: a record made by Create a moment after Delete was told that there is none stays for ever. So a
step that changes the world is waited for; what it did is known by then, and can be undone. Its own deadline bounds the
wait, not the caller's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def finished(work: Coroutine[object, object, T], name: str | None = None) -> T:
    """Run `work` to its end, in a task called `name`; a caller who is cancelled meanwhile hears of it after."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:  # noqa: BLE001 - raised by task.result() below
            break
    if cancelled is not None:
        task.exception()  # the cancellation outweighs it
        raise cancelled
    return task.result()
