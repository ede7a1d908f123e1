"""Operations and the named stages that they consist of: who is busy with what, and since when.

An *operation* is one piece of work that a caller waits for ("RunPodSandbox" of one sandbox); a *stage* is a
named part of it ("netns", "cni:bridge", "task-start"). The operation travels in a context variable, so code
far below needs no extra parameter: tasks started inside an operation inherit it and their stages land in the
same list, which is why stages may overlap (parallel children) as well as nest. Outside of an operation a
stage costs one look-up and records nothing.

Everything that explains slowness reads from here: the histograms, the slow-operation log line, the live
listing of what is in flight, timelines and spans. So this module must never make an operation fail: hooks
that raise are logged and passed over. It holds no CRI object, only names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

log = structlog.get_logger(__name__)

MOST_STAGES = 2000
"""Stages kept of one operation; more (a runaway loop) are dropped so that memory stays bounded."""


@dataclass(slots=True, eq=False)
class StageRecord:
    """One stage of one operation."""

    name: str
    began: float
    """Monotonic seconds."""
    seconds: float | None = None
    """How long it took; None while it runs (or if it outlived its operation)."""
    task: asyncio.Task[object] | None = None
    """The task that is in it, for its stack; None after the end."""


@dataclass(slots=True, eq=False)
class Operation:
    """One piece of work that somebody waits for, with the stages it has gone through so far."""

    name: str
    attributes: dict[str, str]
    """Which object: sandbox="ns/name", container="…", image="…". Never used as a metric label."""
    began: float
    """Monotonic seconds."""
    began_at: int
    """Wall clock in Unix nanoseconds, for timelines and spans."""
    task: asyncio.Task[object] | None
    """The task that opened the operation, for its stack; None outside a loop and after the end."""
    parent: Operation | None = None
    """The operation inside which this one was opened, if any."""
    stages: list[StageRecord] = field(default_factory=list)
    seconds: float | None = None
    """How long it took; None while it runs."""
    outcome: str | None = None
    """"ok", "cancelled" or the name of the error's class; None while it runs."""

    @property
    def age(self) -> float:
        """Seconds since it began, or how long it took if it has ended."""
        return time.monotonic() - self.began if self.seconds is None else self.seconds

    @property
    def running(self) -> list[StageRecord]:
        """The stages that have begun and not ended, oldest first."""
        return [record for record in self.stages if record.seconds is None]

    @property
    def running_stage(self) -> str | None:
        """The name of the stage begun last among those that are running: the place to look first."""
        return next((record.name for record in reversed(self.stages) if record.seconds is None), None)

    def stage_seconds(self) -> dict[str, float]:
        """Seconds by stage name, repeated stages summed; a stage that still runs counts up to now."""
        now = time.monotonic()
        totals: dict[str, float] = {}
        for record in list(self.stages):
            seconds = now - record.began if record.seconds is None else record.seconds
            totals[record.name] = totals.get(record.name, 0.0) + seconds
        return totals


Finished = Callable[[Operation], None]

_current: ContextVar[Operation | None] = ContextVar("cri_operation", default=None)
_in_flight: dict[int, Operation] = {}
_finished_hooks: list[Finished] = []


def operation(name: str, /, **attributes: str) -> AbstractContextManager[Operation]:
    """Open an operation for the duration of the `with` block; children tasks inherit it.

    `name` is a term from a small fixed set (an RPC's name, "Recover", …): it becomes a metric label.
    `attributes` say which object and go to logs and listings only.
    """
    return _OperationScope(name, attributes)


def stage(name: str) -> AbstractContextManager[None]:
    """Time the `with` block as one stage of the current operation; without one, do nothing.

    `name` comes from a small fixed set too ("netns", "cni:bridge"); no ids in it.
    """
    return _StageScope(name)


def current() -> Operation | None:
    """The operation that this task works for."""
    return _current.get()


def annotate(**attributes: str) -> None:
    """Add what has become known (a new id, a resolved digest) to the current operation, if there is one."""
    running = _current.get()
    if running is not None:
        running.attributes.update(attributes)


def in_flight() -> list[Operation]:
    """All operations that have not ended, oldest first."""
    return sorted(_in_flight.values(), key=lambda running: running.began)


def on_finished(hook: Finished) -> Callable[[], None]:
    """Call `hook` with every operation when it has ended. Returns a function that removes the hook again."""
    _finished_hooks.append(hook)

    def remove() -> None:
        if hook in _finished_hooks:
            _finished_hooks.remove(hook)

    return remove


class _OperationScope:
    """What `operation()` returns; a class rather than a generator because it is on every RPC's path."""

    __slots__ = ("_attributes", "_name", "_operation", "_token")

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        self._name = name
        self._attributes = attributes
        self._operation: Operation | None = None
        self._token: Token[Operation | None] | None = None

    def __enter__(self) -> Operation:
        begun = Operation(
            name=self._name,
            attributes=dict(self._attributes),
            began=time.monotonic(),
            began_at=time.time_ns(),
            task=_current_task(),
            parent=_current.get(),
        )
        self._operation = begun
        self._token = _current.set(begun)
        _in_flight[id(begun)] = begun
        return begun

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self._operation
        if ended is None:
            return
        ended.seconds = time.monotonic() - ended.began
        ended.outcome = _outcome(kind)
        ended.task = None
        _in_flight.pop(id(ended), None)
        if self._token is not None:
            try:
                _current.reset(self._token)
            except (
                ValueError
            ):  # closed by the garbage collector in some other context: nothing to restore there
                pass
        for hook in tuple(_finished_hooks):
            try:
                hook(ended)
            except Exception:
                log.exception("hook on a finished operation failed", operation=ended.name)


class _StageScope:
    __slots__ = ("_name", "_record")

    def __init__(self, name: str) -> None:
        self._name = name
        self._record: StageRecord | None = None

    def __enter__(self) -> None:
        running = _current.get()
        if running is None or running.seconds is not None or len(running.stages) >= MOST_STAGES:
            return
        self._record = StageRecord(self._name, time.monotonic(), task=_current_task())
        running.stages.append(self._record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._record is not None:
            self._record.seconds = time.monotonic() - self._record.began
            self._record.task = None


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _outcome(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "ok"
    return "cancelled" if issubclass(kind, asyncio.CancelledError) else kind.__name__
