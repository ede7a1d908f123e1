"""Work whose result several callers want: done once, and ended when the last of them has lost interest.

For pulls, blobs and layers, which are the same for everybody by their digest. The opposite of
`cri.concurrency.single_flight`, whose attempts outlive their callers: here nobody is left who would want the
result. The work runs in a task of its own, so that the caller who started it can leave without ending it for the
others; it must therefore hold on to everything it needs (connections, leases) by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from cri.concurrency.supervision import Supervisor

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Shared(Generic[R]):
    task: asyncio.Task[R]
    callers: int = 0


class Joined(Generic[R]):
    """Work under way, by key."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        """`name` is what the tasks are called in listings ("fetch"); keys may be secret and are not shown."""
        self._supervisor = supervisor
        self._name = name
        self._under_way: dict[Hashable, _Shared[R]] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Whether work for `key` is under way."""
        return key in self._under_way

    async def run(self, key: Hashable, title: str, work: Callable[[], Coroutine[object, object, R]]) -> R:
        """The result of the work for `key`, started by `work()` unless it is under way; `title` names its task.

        Raises what the work raises. When the last caller is cancelled, so is the work, and its clean-up is
        awaited before the cancellation goes on.
        """
        while True:
            shared = self._under_way.get(key)
            started = shared is None
            if shared is None:
                shared = _Shared(self._supervisor.start(f"{self._name} {title}", work()))
                self._under_way[key] = shared
                shared.task.add_done_callback(partial(self._forget, key))
            try:
                return await self._wait(key, shared)
            except asyncio.CancelledError:
                # Work that another caller began may depend on that caller, and be cancelled with it.
                if started or not shared.task.cancelled() or _being_cancelled():
                    raise

    async def _wait(self, key: Hashable, shared: _Shared[R]) -> R:
        shared.callers += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.callers -= 1
            if not shared.callers and not shared.task.done():
                await self._end(key, shared)

    async def _end(self, key: Hashable, shared: _Shared[R]) -> None:
        # Whoever comes now must not join work that is being taken down.
        self._forget(key, shared.task)
        shared.task.cancel()
        while not shared.task.done():
            try:
                await asyncio.wait({shared.task})
            except asyncio.CancelledError:
                continue

    def _forget(self, key: Hashable, task: asyncio.Task[R]) -> None:
        shared = self._under_way.get(key)
        if shared is not None and shared.task is task:
            del self._under_way[key]


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
