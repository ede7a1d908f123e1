"""Finds every place where an operation waits, and strikes there: the caller leaves, or the server dies.

Every task that an operation starts, at whatever depth, is watched: each time one of them hands control to the event
loop, the stack of `cri` code that waits there is a *point*, named by its lines ("create.py:137 < containers.py:60").
A first run collects the points; then the operation is run again once for each, and struck when it gets there.

Two strikes exist. A cancellation is what a client does that leaves, or a server that is told to stop. Death is what
SIGKILL does: from then on no task of the server moves any more, no clean-up runs, nothing is awaited; what threads and
plugins have begun they finish, as the kernel does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import CoroutineType, FrameType
from typing import Any

Strike = Callable[[], None]

OURS = "/cri/"
"""What a file's path holds whose lines name points; the double is served by this process, too."""
DEEPEST = 3
"""Frames in the name of a point: enough to tell one use of a shared step from another."""

_life: ContextVar[Life | None] = ContextVar("life", default=None)


@dataclass(eq=False)
class Life:
    """The tasks of one server or operation, as long as it lives."""

    dead: bool = False
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    points: dict[str, int] = field(default_factory=dict)
    """How often each point was come by, in order of first sight."""
    target: str = ""
    strike: Strike | None = None

    def reached(self, coroutine: object) -> None:
        """A task of this life waits."""
        point = where(coroutine)
        if not point:
            return
        self.points[point] = self.points.get(point, 0) + 1
        if point == self.target and self.strike is not None:
            strike, self.strike = self.strike, None
            strike()

    def die(self) -> None:
        """Nothing of it moves from here on."""
        self.dead = True

    async def bury(self) -> None:
        """Let the tasks of a dead life end, when nothing can be hurt by it any more."""
        self.dead = False
        pending = [task for task in self.tasks if not task.done()]
        for _ in range(20):
            for task in pending:
                task.cancel()
            if pending:
                _, still = await asyncio.wait(pending, timeout=1)
                pending = list(still)
        assert not pending, f"tasks do not end: {pending}"
        for task in self.tasks:
            if not task.cancelled():
                task.exception()


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that tells its life of each wait and stops for ever when the life has ended."""

    def __init__(self, inner: Coroutine[Any, Any, Any], life: Life) -> None:
        self._inner = inner
        self._life = life

    # What asyncio's and gRPC's introspection look at.
    @property
    def cr_frame(self) -> FrameType | None:
        return getattr(self._inner, "cr_frame", None)

    @property
    def cr_await(self) -> object:
        return getattr(self._inner, "cr_await", None)

    @property
    def cr_running(self) -> bool:
        return bool(getattr(self._inner, "cr_running", False))

    @property
    def cr_code(self) -> object:
        return getattr(self._inner, "cr_code", None)

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def _step(self, advance: Callable[..., Any], *values: Any) -> Any:
        if self._life.dead:
            return _never()
        waits_for = advance(*values)
        self._life.reached(self._inner)
        return waits_for


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[None]:
    """Watch the tasks of lives in this block; what is dead at its end is buried."""
    loop = asyncio.get_running_loop()
    lives: set[Life] = set()

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        context = options.get("context")
        life = context.get(_life) if context is not None else _life.get()
        if life is None or not isinstance(coroutine, Coroutine):
            return asyncio.Task(coroutine, loop=loop, **options)
        task: asyncio.Task[Any] = asyncio.Task(Watched(coroutine, life), loop=loop, **options)
        life.tasks.append(task)
        lives.add(life)
        return task

    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(None)
        for life in lives:
            if life.dead:
                await life.bury()


def begin(life: Life, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run `work` as part of a life."""
    token = _life.set(life)
    try:
        return asyncio.get_running_loop().create_task(work, name="struck operation")
    finally:
        _life.reset(token)


async def inside(life: Life, work: Coroutine[Any, Any, Any]) -> Any:
    """The same, waiting for the end."""
    return await begin(life, work)


async def points_of(operation: Callable[[], Awaitable[object]]) -> list[str]:
    """The points that an operation comes by when nothing strikes it."""
    life = Life()

    async def run() -> object:
        return await operation()

    await inside(life, run())
    return list(life.points)


def where(coroutine: object) -> str:
    """The lines of our code in which a suspended coroutine waits, innermost first; "" outside of our code."""
    lines: list[str] = []
    current: object = coroutine
    while current is not None:
        if isinstance(current, Watched):
            current = current._inner
        frame = current.cr_frame if isinstance(current, CoroutineType) else None
        if frame is not None and OURS in frame.f_code.co_filename:
            file = frame.f_code.co_filename.rpartition(OURS)[2]
            lines.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        current = getattr(current, "cr_await", None)
    return " < ".join(reversed(lines[-DEEPEST:]))


def _never() -> asyncio.Future[None]:
    """What a task of a dead server waits for."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future._asyncio_future_blocking = True  # what `await future` would set
    return future
