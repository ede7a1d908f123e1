"""What the janitor's rounds came to, as Prometheus series.

How many rounds, recoveries and reconciliations there were, how long they took and how they ended is in
`cri_shim_operation_duration_seconds`, where they are the operations Janitor, Recover and Reconcile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from cri.observe.snapshots import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry


class Upkeep:
    """The series; their labels have few values, the kinds of leftovers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._found = Counter(
            f"{PREFIX}_janitor_found",
            "Leftovers that rounds of the janitor have found, by kind; one that stays is found each time.",
            ["kind"],
            registry=registry,
        )
        self._removed = Counter(
            f"{PREFIX}_janitor_removed",
            "Leftovers that the janitor has removed, by kind.",
            ["kind"],
            registry=registry,
        )
        self._remaining = Gauge(
            f"{PREFIX}_janitor_remaining",
            "Leftovers that the last round could not remove (failed) or only reports (reported), by kind.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._last = Gauge(
            f"{PREFIX}_janitor_last_round_timestamp_seconds",
            "When the janitor's last round ended; 0 before the first.",
            registry=registry,
        )

    def janitor_round(
        self, *, removed: Iterable[str], failed: Iterable[str], reported: Iterable[str]
    ) -> None:
        """Count a round that has ended: the kinds of what it found, one for each thing."""
        self._remaining.clear()
        for kind in removed:
            self._found.labels(kind).inc()
            self._removed.labels(kind).inc()
        for outcome, kinds in (("failed", failed), ("reported", reported)):
            for kind in kinds:
                self._found.labels(kind).inc()
                self._remaining.labels(kind, outcome).inc()
        self._last.set(time.time_ns() / 1e9)
