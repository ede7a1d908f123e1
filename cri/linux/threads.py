"""One dedicated thread per piece of work that blocks or that changes the state of its thread.

A thread that enters a namespace must never return to a pool: the next user would run in there. And work that
was started cannot be stopped half-way, so a cancelled caller waits for the thread's end before the
cancellation goes on; otherwise an undo step could run beside the work that it undoes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_own_thread(name: str, function: Callable[[], T]) -> T:
    """Run `function` in a new daemon thread that ends after, and return what it returns or raises.

    `name` is what `ps -L` and stack dumps show. On cancellation the thread is waited for, its result dropped.
    Work that may block for long needs a time limit of its own inside `function`.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - handed over to the caller
            failure.append(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, ended)

    threading.Thread(target=work, name=name, daemon=True).start()
    await _until(ended)
    if failure:
        raise failure[0]
    return outcome[0]


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


async def _until(ended: asyncio.Future[None]) -> None:
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
