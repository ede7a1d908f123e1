"""Where every task that outlives the call which started it is born, named and noticed when it dies.

asyncio keeps only a weak reference to a task and tells nobody when one fails. So no code here calls
`asyncio.create_task`: short-lived children live in a TaskGroup, everything else is started by a Supervisor.
Two kinds of work exist. `start` is for work with an end (an attempt that must survive its caller, a clean-up);
its failure is logged and, if anyone awaits the task, seen there. `keep` is for work that never ends (watchers,
samplers, the event stream); it is restarted with a growing pause and each death is logged and counted.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from cri.concurrency.finishing import finished
from cri.concurrency.together import first_cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

T = TypeVar("T")
log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
CLOSING_SECONDS = 10.0


class Supervisor:
    """Owns background tasks; leaving its `async with` block cancels them and waits for their end."""

    def __init__(
        self,
        on_death: Callable[[str, BaseException], None] = lambda _name, _error: None,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        """`on_death` is called with the task's name and error whenever a task fails (for a counter).

        Errors of the `expected` kinds (a daemon that is away) are logged without a traceback.
        """
        self._expected = expected
        self._tasks: set[asyncio.Task[object]] = set()
        self._on_death = on_death

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def names(self) -> list[str]:
        """The names of the tasks that are alive, for status listings and leak tests."""
        return sorted(task.get_name() for task in self._tasks)

    @property
    def tasks(self) -> frozenset[asyncio.Task[object]]:
        """The tasks that are alive, for stack dumps."""
        return frozenset(self._tasks)

    def start(self, name: str, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run `work`, which has an end, and return its task. A failure is logged even if nobody awaits it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run `work` for ever: when it fails or returns, it is started again after a growing pause."""
        return self.start(name, self._repeat(name, work))

    async def close(self) -> None:
        """Cancel everything and wait; a task that does not end within the deadline is named in the log."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            _, stuck = await asyncio.wait(set(self._tasks), timeout=CLOSING_SECONDS)
            for task in stuck:
                log.error("task did not end when cancelled", task=task.get_name())

    async def _repeat(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = loop.time()
            try:
                await work()
                log.warning("endless task ended, starting it again", task=name)
            except Exception as failure:
                error = first_cause(failure)
                trace = None if isinstance(error, self._expected) else failure
                log.warning(
                    "endless task failed, starting it again", task=name, error=str(error), exc_info=trace
                )
                self._on_death(name, error)
            lived = loop.time() - began
            pause = (
                FIRST_PAUSE_SECONDS
                if lived > LONGEST_PAUSE_SECONDS
                else min(pause * 2, LONGEST_PAUSE_SECONDS)
            )
            await asyncio.sleep(pause)

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.debug("background task failed", task=task.get_name(), error=repr(error))
            self._on_death(task.get_name(), error)


async def shielded(work: Coroutine[object, object, T], name: str, deadline_seconds: float) -> T:
    """Finish `work` even if the caller is cancelled meanwhile, then let the cancellation through.

    For clean-up that must not be cut short. Raises TimeoutError when the deadline (of its own, not the
    caller's) passes, after cancelling `work`.
    """
    try:
        return await finished(asyncio.wait_for(work, deadline_seconds), name)
    finally:
        if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:  # the loop ended before the first step
            work.close()
