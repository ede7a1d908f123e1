"""Metrics that are states rather than happenings: read through callbacks when somebody scrapes.

Rendering runs in a thread because it takes tens of milliseconds; the index and the log totals belong to the
event loop and must not be walked from there. So `refresh` takes the figures on the loop, and `collect` hands
them out in whichever thread renders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

log = structlog.get_logger(__name__)

PREFIX = "cri_shim"


@dataclass(frozen=True, slots=True)
class LogTotals:
    """What the log keeper has counted since it started, over all containers."""

    bytes: int = 0
    lines: int = 0
    split_lines: int = 0
    """Lines longer than the limit, written in pieces."""
    lost_bytes: int = 0
    """Bytes drained from containers that could not be written."""
    suppressed_bytes: int = 0
    """Bytes that were not written for the rate limit's sake."""
    rotations: int = 0
    """Logs that were set aside for their size, without waiting for the kubelet."""


@dataclass(frozen=True, slots=True)
class ObjectCount:
    """How many objects of one kind are in one state."""

    kind: str
    """"sandbox", "container", "image", ..."""
    state: str
    count: int


class Snapshots(Collector):
    """The collector that stands in the registry; set its two callbacks at start."""

    def __init__(self) -> None:
        self.objects: Callable[[], Iterable[ObjectCount]] = tuple
        """Counts the objects of the index; called on the loop at each scrape."""
        self.containerd_up: Callable[[], bool] = bool
        """Says whether containerd answers; called on the loop at each scrape."""
        self.logs: Callable[[], LogTotals] = LogTotals
        """The last totals known of the log keeper; called on the loop at each scrape."""
        self.recovered: Callable[[], Iterable[ObjectCount]] = tuple
        """Counts what the last start found in containerd; called on the loop at each scrape."""
        self.stream_sessions: Callable[[], int] = int
        """How many exec, attach and port-forward connections are served; called on the loop at each scrape."""
        self._recovered: tuple[ObjectCount, ...] = ()
        self._stream_sessions = 0
        self._objects: tuple[ObjectCount, ...] = ()
        self._logs = LogTotals()
        self._containerd_up = False

    def refresh(self) -> None:
        """Take the figures now. A callback that fails leaves the last figures standing and is logged."""
        try:
            self._objects = tuple(self.objects())
            self._recovered = tuple(self.recovered())
            self._stream_sessions = self.stream_sessions()
            self._logs = self.logs()
            self._containerd_up = self.containerd_up()
        except Exception:
            log.exception("counting objects for the metrics failed")

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the last refresh."""
        objects = GaugeMetricFamily(
            f"{PREFIX}_objects", "Objects, by kind and state.", labels=["kind", "state"]
        )
        for counted in self._objects:
            objects.add_metric([counted.kind, counted.state], counted.count)
        yield objects
        recovered = GaugeMetricFamily(
            f"{PREFIX}_recovered_objects",
            "What the server found in containerd when it started, by kind and state.",
            labels=["kind", "state"],
        )
        for counted in self._recovered:
            recovered.add_metric([counted.kind, counted.state], counted.count)
        yield recovered
        yield GaugeMetricFamily(
            f"{PREFIX}_stream_sessions",
            "Connections for exec, attach and port-forward that are served.",
            value=self._stream_sessions,
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_containerd_up",
            "1 while containerd answers, 0 while it does not.",
            value=int(self._containerd_up),
        )
        for name, text, value in self._log_figures():
            yield CounterMetricFamily(f"{PREFIX}_log_{name}", text, value=value)

    def _log_figures(self) -> Iterable[tuple[str, str, int]]:
        totals = self._logs
        return (
            ("bytes", "Bytes of container output written to log files.", totals.bytes),
            ("lines", "Lines of container output written to log files.", totals.lines),
            ("split_lines", "Lines over the size limit, written in pieces.", totals.split_lines),
            ("lost_bytes", "Bytes of container output that could not be written.", totals.lost_bytes),
            ("suppressed_bytes", "Bytes of container output over the rate limit.", totals.suppressed_bytes),
            ("rotations", "Log files rotated for their size.", totals.rotations),
        )


def count_objects(states: Mapping[str, Iterable[str]]) -> list[ObjectCount]:
    """Count the states of each kind: `{"sandbox": ["ready", "ready"]}` is one ObjectCount of 2."""
    totals: dict[tuple[str, str], int] = {}
    for kind, each in states.items():
        for state in each:
            totals[kind, state] = totals.get((kind, state), 0) + 1
    return [ObjectCount(kind, state, count) for (kind, state), count in sorted(totals.items())]
