"""Reads the cgroups of everything that runs: on demand, shared by callers, and regularly for rates.

    period over ──> cpu time of every target ──> two samples each ──┐
    request ──> reading (or one of a moment ago) ───────────────────┴─> nanoseconds per second of late

One thread reads at a time and the event loop never does: a reading is quick, but a kernel that has to add up many
processors' counters makes no promise. A cgroup that vanishes drops out, whatever was being read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog

from cri.linux.threads import in_own_thread
from cri.stats.held_files import Allowance, CgroupGoneError
from cri.stats.process_tree import process_details
from cri.stats.settings import StatsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cri.stats.cgroup import Cgroup
    from cri.stats.target import Target
    from cri.stats.usage import Details, ProcessDetails, Usage

R = TypeVar("R")
log = structlog.get_logger(__name__)

SHORTEST_SPAN = 900_000_000
"""Nanoseconds between two samples below which their difference says little about a rate."""
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stats request is answered with."""

    usage: Usage
    nano_cores: int | None
    """Nanoseconds of processor time per second over the last seconds; None so soon after the start."""


@dataclass(frozen=True, slots=True)
class FullReading:
    """What the metrics are made of."""

    usage: Usage
    details: Details
    threads: int
    processes: ProcessDetails


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time at one moment."""

    moment: int
    """Monotonic nanoseconds."""
    cpu: int


@dataclass(slots=True)
class _Watched:
    """One open cgroup and what is remembered of it."""

    cgroup: Cgroup
    samples: list[Sample] = field(default_factory=list)
    """The last two, older first."""
    read_at: int = 0
    """Monotonic nanoseconds of `reading`."""
    reading: Reading | None = None

    def note(self, sample: Sample) -> None:
        self.samples = [*self.samples[-1:], sample]


def rate(samples: Sequence[Sample], now: Sample) -> int | None:
    """Nanoseconds of processor time per second since the youngest sample that is old enough; None without one."""
    for sample in reversed(samples):
        span = now.moment - sample.moment
        if span >= SHORTEST_SPAN:
            return max(now.cpu - sample.cpu, 0) * _SECOND // span
    return None


class Sampler:
    """One per server; `run` is kept alive by the supervisor."""

    def __init__(
        self,
        targets: Callable[[], Iterable[Target]],
        settings: StatsSettings | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        """`targets` says what runs now; it is called on the event loop."""
        self._targets = targets
        self._settings = settings or StatsSettings()
        self._allowance = allowance or Allowance()
        self._watched: dict[str, _Watched] = {}
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Take samples for ever; made for `Supervisor.keep`."""
        while True:
            await self.sample()
            await asyncio.sleep(self._settings.cpu_sample_period)

    async def sample(self) -> None:
        """Read every target's processor time, and forget what does not run any more."""
        targets = list(self._targets())
        await self._in_turn("stats-sample", lambda: self._sample(targets))

    async def read(self, targets: Iterable[Target]) -> Mapping[str, Reading]:
        """Readings by key; targets that are gone are missing."""
        wanted = list(targets)
        return await self._in_turn("stats-read", lambda: self._each(wanted, self._reading))

    async def threads(self, targets: Iterable[Target]) -> Mapping[str, int]:
        """Numbers of threads by key; targets that are gone are missing."""
        wanted = list(targets)
        return await self._in_turn(
            "stats-threads", lambda: self._each(wanted, lambda watched: watched.cgroup.threads())
        )

    async def read_fully(self, targets: Iterable[Target]) -> Mapping[str, FullReading]:
        """Everything that can be read, by key; targets that are gone are missing."""
        wanted = list(targets)
        return await self._in_turn("stats-metrics", lambda: self._each(wanted, self._full_reading))

    async def close(self) -> None:
        """Let go of every open file."""
        await self._in_turn("stats-close", lambda: self._forget_all_but(frozenset()))

    async def _in_turn(self, name: str, work: Callable[[], R]) -> R:
        async with self._turn:
            return await in_own_thread(name, work)

    def _sample(self, targets: Sequence[Target]) -> None:
        self._forget_all_but(frozenset(target.key for target in targets))

        def note(watched: _Watched) -> None:
            watched.note(Sample(time.monotonic_ns(), watched.cgroup.cpu_time()))

        self._each(targets, note)

    def _each(self, targets: Sequence[Target], look: Callable[[_Watched], R]) -> dict[str, R]:
        found = {}
        for target in targets:
            try:
                found[target.key] = look(self._opened(target))
            except CgroupGoneError:
                self._forget(target.key)
            except OSError as error:
                log.debug("cgroup cannot be read", target=target.key, error=str(error))
        return found

    def _opened(self, target: Target) -> _Watched:
        watched = self._watched.get(target.key)
        if watched is None:
            watched = self._watched[target.key] = _Watched(target.open(self._allowance))
        return watched

    def _reading(self, watched: _Watched) -> Reading:
        now = time.monotonic_ns()
        if watched.reading is not None and now - watched.read_at < self._settings.shared_reading_age * 1e9:
            return watched.reading
        usage = watched.cgroup.usage()
        sample = Sample(now, usage.cpu)
        watched.reading = Reading(usage, rate(watched.samples, sample))
        watched.read_at = now
        if not watched.samples:
            watched.note(sample)
        return watched.reading

    def _full_reading(self, watched: _Watched) -> FullReading:
        cgroup = watched.cgroup
        return FullReading(
            usage=self._reading(watched).usage,
            details=cgroup.details(),
            threads=cgroup.threads(),
            processes=process_details(cgroup.processes()),
        )

    def _forget_all_but(self, keys: frozenset[str]) -> None:
        for key in self._watched.keys() - keys:
            self._forget(key)

    def _forget(self, key: str) -> None:
        watched = self._watched.pop(key, None)
        if watched is not None:
            watched.cgroup.close()
