"""One log line for each operation that took long, with the time of each of its stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from cri.observe.stages import Operation

log = structlog.get_logger(__name__)


class SlowOperationLog:
    """Hook for `cri.observe.stages.on_finished`: logs what took at least the threshold (0: nothing)."""

    def __init__(self, threshold_seconds: float) -> None:
        self.threshold_seconds = threshold_seconds

    def __call__(self, finished: Operation) -> None:
        """Log `finished` if it was slow."""
        seconds = finished.seconds or 0.0
        if self.threshold_seconds <= 0 or seconds < self.threshold_seconds:
            return
        log.warning(
            "slow operation",
            operation=finished.name,
            seconds=round(seconds, 3),
            outcome=finished.outcome,
            stages=stage_times(finished),
            **{key: value for key, value in finished.attributes.items() if key not in _TAKEN},
        )


_TAKEN = frozenset({"event", "operation", "seconds", "outcome", "stages", "level", "timestamp", "logger"})


def stage_times(finished: Operation) -> str:
    """The stages and their seconds in order of their beginning: "netns=0.004 cni:bridge=9.871"."""
    return " ".join(f"{name}={seconds:.3f}" for name, seconds in finished.stage_seconds().items())
