"""Node-wide totals of container output, from counters that exist only as long as their container is followed.

A container that is forgotten, or a log keeper that was replaced, must not make a Prometheus counter go back: what
had been counted by then is kept aside.
"""

from __future__ import annotations

import asyncio
from dataclasses import astuple
from typing import TYPE_CHECKING

import structlog

from cri.errors import CriError
from cri.observe.snapshots import LogTotals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 5.0


class LogMeter:
    """Adds up what was seen of each container's counters."""

    def __init__(self) -> None:
        self._ended = LogTotals()
        self._current: dict[str, LogTotals] = {}

    def update(self, counters: Mapping[str, LogTotals]) -> None:
        """Take new counters by container id; those missing, or lower than before, have ended or begun anew."""
        for container_id, before in self._current.items():
            now = counters.get(container_id)
            if now is None or now.bytes < before.bytes:
                self._ended = _sum(self._ended, before)
        self._current = dict(counters)

    def totals(self) -> LogTotals:
        """The sums over all containers there ever were; made for `Snapshots.logs`."""
        return _sum(self._ended, *self._current.values())

    async def watch(
        self, read: Callable[[], Awaitable[Mapping[str, LogTotals]]], period_seconds: float = PERIOD_SECONDS
    ) -> None:
        """Read the counters once a period, for ever; made for `Supervisor.keep`."""
        while True:
            try:
                self.update(await read())
            except CriError as error:
                log.debug("the log keeper's counters cannot be read now", error=error.message)
            await asyncio.sleep(period_seconds)


def _sum(*each: LogTotals) -> LogTotals:
    return LogTotals(*map(sum, zip(*map(astuple, each), strict=True)))
