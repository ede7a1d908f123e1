"""A stack of undo steps, so that an operation that fails half-way leaves nothing behind.

Each step of an operation pushes its opposite *before* it acts where a crash or a cancellation in the middle
could leave something (CNI ADD counts as done from the moment it was started), so every undo step must be
idempotent: undoing what was never done is a success. When the block ends with an error or a cancellation the
steps run in reverse, shielded from further cancellation, with a deadline of their own. A step that fails does
not stop the others; it is reported to `on_leftover`, where the janitor's notes are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

import structlog

from cri.concurrency.supervision import shielded

if TYPE_CHECKING:
    from types import TracebackType

log = structlog.get_logger(__name__)

ROLLBACK_SECONDS = 60.0

Step = Callable[[], Awaitable[object]]
Leftover = Callable[[str, str, BaseException], None]
"""Hears the operation, the undo step that failed, and its error."""

_watchers: list[Leftover] = []


def watch_leftovers(watcher: Leftover) -> Callable[[], None]:
    """Tell `watcher` of every failed undo step of every stack. Returns a function that ends it."""
    _watchers.append(watcher)

    def end() -> None:
        if watcher in _watchers:
            _watchers.remove(watcher)

    return end


def tell_of_leftover(operation: str, step: str, error: BaseException) -> None:
    """Tell the watchers of something that stays: the last step of a removal failed, or an undo step did."""
    for hear in tuple(_watchers):
        hear(operation, step, error)


class UndoStack:
    """`async with UndoStack("RunPodSandbox web") as undo:` undoes what was pushed unless the block succeeds."""

    def __init__(
        self,
        operation: str,
        *,
        deadline_seconds: float = ROLLBACK_SECONDS,
        on_leftover: Leftover = lambda _operation, _step, _error: None,
    ) -> None:
        """`on_leftover(operation, step, error)` hears of each undo step that failed."""
        self._operation = operation
        self._deadline_seconds = deadline_seconds
        self._on_leftover = on_leftover
        self._steps: list[tuple[str, Step]] = []

    def push(self, name: str, step: Step) -> None:
        """Add the opposite of what is about to be done; `name` says it in the imperative ("remove netns")."""
        self._steps.append((name, step))

    def forget(self) -> None:
        """Drop all steps: from here on the operation counts as done."""
        self._steps.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._steps:
            log.info("rolling back", operation=self._operation, steps=len(self._steps), error=repr(error))
            await shielded(self._run(), f"undo {self._operation}", self._deadline_seconds + 1)
        self._steps.clear()

    async def _run(self) -> None:
        while self._steps:
            name, step = self._steps.pop()
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - the other steps must still run
                log.warning("undo step failed", operation=self._operation, step=name, error=repr(error))
                self._on_leftover(self._operation, name, error)
                tell_of_leftover(self._operation, name, error)
