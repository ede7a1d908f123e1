"""What is measured, in which unit, and which ratio of cri-shim to containerd's CRI plugin is to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from e2e.harness.node import BUILT_IN, CRI_SHIM


class Better(Enum):
    """Which way is good."""

    LOWER = "≤"
    HIGHER = "≥"


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the report; `goal` is a ratio of medians, ours to theirs, None where there is none to reach."""

    name: str
    unit: str
    goal: float | None = None
    better: Better = Better.LOWER
    limit: float | None = None
    """The highest median that ours may have, whatever theirs is."""

    def reached(self, ratio: float) -> bool | None:
        """Whether a ratio is good enough; None without a goal."""
        if self.goal is None:
            return None
        return ratio <= self.goal if self.better is Better.LOWER else ratio >= self.goal


RUN_POD = Operation("RunPodSandbox", "ms", 0.80)
CREATE_AND_START = Operation("CreateContainer + StartContainer", "ms", 1.10)
CREATE = Operation("  CreateContainer", "ms")
START = Operation("  StartContainer", "ms")
EXEC_SYNC = Operation("ExecSync true", "ms", 1.05)
CONTAINER_STATUS = Operation("ContainerStatus", "ms", 1.00)
STOP_CONTAINER = Operation("StopContainer", "ms", 1.00)
REMOVE_CONTAINER = Operation("RemoveContainer", "ms", 1.00)
STOP_POD = Operation("StopPodSandbox", "ms", 1.00)
REMOVE_POD = Operation("RemovePodSandbox", "ms", 1.00)
WHOLE_POD = Operation("one pod, from run to removed", "ms")
PODS_PER_SECOND = Operation("pods at 10 in parallel", "1/s", 1.00, Better.HIGHER)
PULL_LARGE = Operation("PullImage, 10 large layers", "ms", 1.00)
PULL_MANY = Operation("PullImage, 20 small images, 5 at a time", "ms", 1.00)
LIST_CONTAINERS = Operation("ListContainers", "ms", 1.00)
LIST_PODS = Operation("ListPodSandbox", "ms", 1.00)
LIST_STATS = Operation("ListContainerStats", "ms", 0.50)
LIST_POD_STATS = Operation("ListPodSandboxStats", "ms", 0.50)
LIST_METRICS = Operation("ListPodSandboxMetrics", "ms")
STATUS_BESIDE_FLOODS = Operation("ContainerStatus beside two floods, p99", "ms", limit=10.0)
EXEC_STDOUT = Operation("exec, output", "MB/s", 1.00, Better.HIGHER)
EXEC_STDIN = Operation("exec, input", "MB/s", 1.00, Better.HIGHER)
FORWARD_DOWN = Operation("port-forward, from the pod", "MB/s", 1.00, Better.HIGHER)
FORWARD_UP = Operation("port-forward, to the pod", "MB/s", 1.00, Better.HIGHER)
EXEC_ROUND_TRIP = Operation("exec true", "ms", 1.05)
IDLE = Operation("processor time while all that runs", "ms/s")
MEMORY = Operation("resident memory of the server", "MiB")
KEEPER_MEMORY = Operation("resident memory of the log keeper", "MiB")


def log_speed(line_bytes: int) -> Operation:
    """Bytes of container output that reach the log file in a second."""
    return Operation(f"log, lines of {line_bytes} bytes", "MB/s", 3.0, Better.HIGHER)


def log_cost(line_bytes: int) -> Operation:
    """Processor time of the server and its helpers for those bytes."""
    return Operation(f"  processor time, lines of {line_bytes} bytes", "ms/MB", 0.5)


def stream_cost(operation: Operation) -> Operation:
    """Processor time of the server for what a stream carried."""
    return Operation(f"  processor time, {operation.name}", "ms/MB")


@dataclass(slots=True)
class Measurements:
    """All values, by operation and server, in the order of the first measurement."""

    values: dict[Operation, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, operation: Operation, server: str, value: float) -> None:
        """Note one value in the operation's unit."""
        self.values.setdefault(operation, {}).setdefault(server, []).append(value)

    def medians(self, operation: Operation) -> Mapping[str, float]:
        """The median by server."""
        return {server: statistics.median(values) for server, values in self.values[operation].items()}

    def ratio(self, operation: Operation) -> float | None:
        """Ours to theirs; None unless both were measured."""
        medians = self.medians(operation)
        if CRI_SHIM not in medians or not medians.get(BUILT_IN):
            return None
        return medians[CRI_SHIM] / medians[BUILT_IN]
