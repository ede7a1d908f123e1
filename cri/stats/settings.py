"""What an operator can set about measuring; keys as in containerd's CRI plugin where it has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StatsSettings:
    """Periods, in seconds."""

    stats_collect_period: float = 10.0
    """Between measurements of a container's writable layer."""
    cpu_sample_period: float = 2.0
    """Between the readings that rates of processor use are worked out from."""
    shared_reading_age: float = 0.4
    """Up to this age a reading serves several callers. Below a second: crictl compares two readings that far apart."""
