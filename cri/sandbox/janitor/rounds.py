"""When the janitor goes round: when the node's pods are known, now and then, and soon after a roll-back has failed."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from cri.observe.stages import operation
from cri.sandbox.janitor.examining import examined
from cri.sandbox.janitor.finding import leftovers
from cri.sandbox.janitor.observing import observe
from cri.sandbox.janitor.removal import remove_leftovers
from cri.sandbox.janitor.values import Leftover, Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cri.sandbox.engine import PodEngine
    from cri.sandbox.observer import Observer

log = structlog.get_logger(__name__)

AFTER_FAILURE_SECONDS = (5.0, 30.0, 120.0)
"""Pauses before the rounds that follow a failed undo step: the rest of the roll-back may take a minute, and what was
in the way may be gone by then."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did."""

    found: tuple[Leftover, ...] = ()
    removed: tuple[Leftover, ...] = ()
    failed: Mapping[Leftover, str] = field(default_factory=dict)
    """Why, by leftover."""


class Janitor:
    """One per server."""

    def __init__(self, pods: PodEngine, observer: Observer, interval_seconds: float) -> None:
        self._pods = pods
        self._observer = observer
        self.interval_seconds = interval_seconds
        """Pause between rounds; another value counts from the next one on."""
        self._turn = asyncio.Lock()
        self._failed_undo = asyncio.Event()
        self.last = Round()
        """The latest round."""
        self.rounds = 0
        """How many there have been."""
        self.on_round: Callable[[Round], None] = lambda _round: None
        """Called after each round."""

    def note_failed_undo(self, operation: str, step: str, error: BaseException) -> None:
        """Go round soon: an undo step failed. Made for `cri.concurrency.undo.watch_leftovers`."""
        log.info("the janitor will see to it", operation=operation, step=step, error=str(error))
        self._failed_undo.set()

    async def look(self) -> tuple[Leftover, ...]:
        """What is left over now; nothing is changed. Raises ContainerdError, Unavailable before recovery."""
        self._observer.check_recovered()
        things, owners = await observe(self._pods)
        return await asyncio.to_thread(examined, leftovers(things, owners), things)

    async def sweep(self) -> Round:
        """Find and remove. Raises like `look`."""
        async with self._turn:
            with operation("Janitor"):
                return await self._round()

    async def _round(self) -> Round:
        found = await self.look()
        failed = await remove_leftovers(self._pods, found)
        removable = [each for each in found if each.remedy is Remedy.REMOVE]
        self.rounds += 1
        self.last = Round(found, tuple(each for each in removable if each not in failed), failed)
        self.on_round(self.last)
        return self.last

    async def run(self) -> None:
        """Go round for ever; made for `Supervisor.keep`."""
        await self._observer.recovered.wait()
        while True:
            await self.sweep()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._failed_undo.wait(), self.interval_seconds)
                await self._follow_up()

    async def _follow_up(self) -> None:
        """Rounds soon after a failure; the last one is the caller's."""
        for pause in AFTER_FAILURE_SECONDS[:-1]:
            await asyncio.sleep(pause)
            await self.sweep()
        self._failed_undo.clear()
        await asyncio.sleep(AFTER_FAILURE_SECONDS[-1])
