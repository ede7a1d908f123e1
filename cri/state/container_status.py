"""The life of a container as data: its phases, which may follow which, and the status that kubelet reads.

    CREATED ──> STARTING ──> RUNNING ──> EXITED
                    └────── failed ────────^

STARTING exists because a task may exit before StartContainer returns: CRI shows it as CREATED. A start that
fails ends in EXITED with code 128 and reason StartError, never back in CREATED, or kubelet would loop. UNKNOWN
is for a record whose task containerd can no longer account for. Removal is not a phase: it holds the container's
lock and ends its life.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from api.wire import criv1
from cri.errors import Internal

REASON_COMPLETED = "Completed"
REASON_ERROR = "Error"
REASON_OOM_KILLED = "OOMKilled"
REASON_START_ERROR = "StartError"
REASON_UNKNOWN = "Unknown"
START_ERROR_EXIT_CODE = 128
UNKNOWN_EXIT_CODE = 255
SIGKILL_EXIT_CODE = 137


class Phase(Enum):
    """Where a container is in its life; the value is what the record stores."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.CREATED: frozenset({Phase.STARTING, Phase.EXITED, Phase.UNKNOWN}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.EXITED}),
    Phase.RUNNING: frozenset({Phase.EXITED, Phase.UNKNOWN}),
    Phase.UNKNOWN: frozenset({Phase.RUNNING, Phase.EXITED}),
    Phase.EXITED: frozenset(),
}

CRI_STATES: dict[Phase, criv1.ContainerState.ValueType] = {
    Phase.CREATED: criv1.CONTAINER_CREATED,
    Phase.STARTING: criv1.CONTAINER_CREATED,
    Phase.RUNNING: criv1.CONTAINER_RUNNING,
    Phase.EXITED: criv1.CONTAINER_EXITED,
    Phase.UNKNOWN: criv1.CONTAINER_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What is known of a container's process. Times are Unix nanoseconds, 0 while the event has not happened."""

    phase: Phase
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0

    def starting(self) -> ContainerStatus:
        """The start was begun."""
        return self._to(Phase.STARTING)

    def running(self, pid: int, started_at: int) -> ContainerStatus:
        """The process runs as host pid `pid`."""
        return replace(self._to(Phase.RUNNING), pid=pid, started_at=max(started_at, self.created_at))

    def exited(
        self, exit_code: int, finished_at: int, *, oom_killed: bool, message: str = ""
    ) -> ContainerStatus:
        """The process ended. The reason follows from how: kubelet shows Completed, Error or OOMKilled."""
        natural = REASON_COMPLETED if exit_code == 0 else REASON_ERROR
        return self._ended(exit_code, finished_at, REASON_OOM_KILLED if oom_killed else natural, message)

    def start_failed(self, finished_at: int, message: str) -> ContainerStatus:
        """The process could not be started; the container ends without ever having run."""
        return self._ended(START_ERROR_EXIT_CODE, finished_at, REASON_START_ERROR, message)

    def lost(self, finished_at: int, message: str) -> ContainerStatus:
        """The process is gone and nobody knows how it ended (a reboot, a vanished task)."""
        return self._ended(UNKNOWN_EXIT_CODE, finished_at, REASON_UNKNOWN, message)

    def _ended(self, exit_code: int, finished_at: int, reason: str, message: str) -> ContainerStatus:
        return replace(
            self._to(Phase.EXITED),
            pid=0,
            # A clock that was set back must not make a container end before it began.
            finished_at=max(finished_at, self.started_at, self.created_at),
            exit_code=exit_code,
            reason=reason,
            message=message,
        )

    def _to(self, phase: Phase) -> ContainerStatus:
        if phase not in TRANSITIONS[self.phase]:
            raise Internal(f"a container cannot go from {self.phase.value} to {phase.value}")
        return replace(self, phase=phase)
