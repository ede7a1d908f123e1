"""One attempt per key: a retry joins the attempt that is under way, or receives its finished result.

The kubelet gives up on RunPodSandbox and CreateContainer after a deadline and tries again with the same name.
Three things can be true then:

    the attempt still runs             -> the retry waits for the same attempt
    it finished, and nobody received   -> the retry receives the result (hand-over)
    it finished, and a caller received -> the flight is over; the name belongs to an object, and that is
                                          for the index to say (AlreadyExists), not for this module

A caller received the result if it was still there when the result came, with time enough for the answer to travel: an
answer that leaves in the last moment before the caller's deadline may or may not have arrived, so it counts as not
received, until somebody uses what it made (`claim`).

An attempt is a supervised task of its own and does not die with its caller. A failure that nobody
received is dropped (the attempt has undone itself) and the next call starts afresh. A result that nobody
claims within `unclaimed_seconds` is given to `reap`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from cri.concurrency.deadline import caller_waits_longer_than

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from cri.concurrency.supervision import Supervisor


R = TypeVar("R")
log = structlog.get_logger(__name__)

UNCLAIMED_SECONDS = 600.0
TRAVEL_SECONDS = 0.1
"""What an answer may need from here to its caller on a busy node."""


@dataclass(slots=True)
class _Flight(Generic[R]):
    task: asyncio.Task[R]
    began: float
    waiters: int = 0
    reaper: asyncio.Task[None] | None = None
    reaping: bool = False
    """Nobody came; what was made is being undone."""
    claimed: asyncio.Event = field(default_factory=asyncio.Event)


class SingleFlight(Generic[R]):
    """Attempts by key (the CRI name of a sandbox or container)."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        reap: Callable[[R], Awaitable[None]],
        unclaimed_seconds: float = UNCLAIMED_SECONDS,
    ) -> None:
        """`reap(result)` undoes a finished attempt whose result no caller came for."""
        self._supervisor = supervisor
        self._reap = reap
        self._unclaimed_seconds = unclaimed_seconds
        self._flights: dict[str, _Flight[R]] = {}

    @property
    def keys(self) -> frozenset[str]:
        """Keys with an attempt that runs or whose result waits to be claimed."""
        return frozenset(self._flights)

    async def run(self, key: str, attempt: Callable[[], Coroutine[object, object, R]]) -> R:
        """Join or start the attempt for `key` and return its result; raises what the attempt raises."""
        await self._reaped(key)
        flight = self._flights.get(key)
        if flight is None:
            loop = asyncio.get_running_loop()
            flight = _Flight(self._supervisor.start(f"attempt {key}", attempt()), loop.time())
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _task: self._ended(key, flight))
        else:
            log.info("joined the attempt under way", key=key, done=flight.task.done())
        flight.waiters += 1
        try:
            result = await asyncio.shield(flight.task)
        except BaseException:
            flight.waiters -= 1
            if flight.waiters == 0 and flight.task.done() and not _failed(flight.task):
                self._await_claim(key, flight)  # it ended in the very moment in which the last caller left
            raise
        flight.waiters -= 1
        if caller_waits_longer_than(TRAVEL_SECONDS):
            self._over(key, flight)
        else:
            self._await_claim(key, flight)
        return result

    def claim(self, key: str) -> None:
        """Note that a client uses the result under `key` (it named the object's id), or that the object is gone.

        From then on it is neither handed over nor reaped.
        """
        flight = self._flights.get(key)
        if flight is not None and flight.task.done() and not flight.reaping:
            self._over(key, flight)

    def _ended(self, key: str, flight: _Flight[R]) -> None:
        if _failed(flight.task):
            self._over(key, flight)
        elif flight.waiters == 0:
            self._await_claim(key, flight)

    def _await_claim(self, key: str, flight: _Flight[R]) -> None:
        if flight.reaper is None and not flight.claimed.is_set():
            flight.reaper = self._supervisor.start(f"unclaimed {key}", self._expire(key, flight))

    def _over(self, key: str, flight: _Flight[R]) -> None:
        flight.claimed.set()
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _expire(self, key: str, flight: _Flight[R]) -> None:
        try:
            await asyncio.wait_for(flight.claimed.wait(), self._unclaimed_seconds)
        except TimeoutError:
            log.warning("no caller came for the result, undoing it", key=key)
            flight.reaping = True
            try:
                await self._reap(flight.task.result())
            finally:
                self._over(key, flight)

    async def _reaped(self, key: str) -> None:
        """Wait while a result of this key is being undone: its name is not free before."""
        while (flight := self._flights.get(key)) is not None and flight.reaping and flight.reaper is not None:
            await asyncio.wait({flight.reaper})


def _failed(task: asyncio.Task[R]) -> bool:
    return task.cancelled() or task.exception() is not None
