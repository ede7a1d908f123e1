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


RUN_POD = Operation("RunPodSandbox", "ms", 0.35)
RUN_UNMASKED = Operation("RunPodSandbox, without ipMasq", "ms", 0.35)
TO_RUNNING = Operation("one-container pod, run to running", "ms", 0.60)
TO_RUNNING_UNMASKED = Operation("one-container pod, run to running, without ipMasq", "ms", 0.60)
CREATE_AND_START = Operation("CreateContainer + StartContainer", "ms", 1.00)
SECOND_CONTAINER = Operation("CreateContainer + StartContainer in a running pod", "ms", 1.00)
CREATE = Operation("  CreateContainer", "ms")
START = Operation("  StartContainer", "ms")
EXEC_SYNC = Operation("ExecSync true", "ms", 1.00)
CONTAINER_STATUS = Operation("ContainerStatus", "ms", 0.80)
STOP_CONTAINER = Operation("StopContainer", "ms", 1.00)
REMOVE_CONTAINER = Operation("RemoveContainer", "ms", 1.00)
STOP_POD = Operation("StopPodSandbox", "ms", 1.00)
REMOVE_POD = Operation("RemovePodSandbox", "ms", 1.00)
STOP_UNMASKED = Operation("StopPodSandbox, without ipMasq", "ms", 1.00)
STOP_AND_REMOVE = Operation("one-container pod, stop and remove", "ms", 0.60)
STOP_AND_REMOVE_UNMASKED = Operation("one-container pod, stop and remove, without ipMasq", "ms", 0.60)
WHOLE_POD = Operation("one pod, from run to removed", "ms")
PODS_AT_ONCE = Operation("30 pods, 10 at a time, to running", "ms", 0.65)
PODS_AT_ONCE_UNMASKED = Operation("30 pods, 10 at a time, to running, without ipMasq", "ms", 0.65)
PULL_LARGE = Operation("PullImage, 200 MB in 10 layers", "ms", 0.90)
PULL_SMALL = Operation("PullImage, one small image", "ms", 0.90)
PULL_MANY = Operation("PullImage, 20 small images, 5 at a time", "ms", 0.90)
LIST_CONTAINERS = Operation("ListContainers, 500 containers", "ms", 0.80)
LIST_PODS = Operation("ListPodSandbox, 500 sandboxes", "ms", 0.80)
LIST_STATS = Operation("ListContainerStats, 100 containers", "ms", 0.10)
LIST_POD_STATS = Operation("ListPodSandboxStats, 100 pods", "ms", 0.50)
LIST_METRICS = Operation("ListPodSandboxMetrics, 100 pods", "ms", limit=50.0)
STATUS_BESIDE_FLOODS = Operation("ContainerStatus beside two floods, p99", "ms", limit=10.0)
EXEC_STDOUT = Operation("exec, output", "MB/s", 1.50, Better.HIGHER)
EXEC_STDIN = Operation("exec, input", "MB/s", 1.50, Better.HIGHER)
FORWARD_DOWN = Operation("port-forward, from the pod", "MB/s", 1.50, Better.HIGHER)
FORWARD_UP = Operation("port-forward, to the pod", "MB/s", 1.50, Better.HIGHER)
EXEC_ROUND_TRIP = Operation("exec true", "ms", 1.05)
INSTRUMENTATION = Operation("instrumentation's share of RunPodSandbox", "%", limit=3.0)
SAMPLER = Operation("the sampler's share of a processor, 100 containers", "%", limit=1.0)
IDLE = Operation("processor time, 150 pods, nobody asks", "ms/s", limit=20.0)
EMPTY_MEMORY = Operation("resident memory, no pods", "MiB")
MEMORY = Operation("resident memory, 150 pods", "MiB", limit=90.0)
KEEPER_MEMORY = Operation("  the log keeper's", "MiB", limit=25.0)


def log_speed(line_bytes: int) -> Operation:
    """Bytes of container output that reach the log file in a second."""
    return Operation(
        f"log, lines of {line_bytes} bytes", "MB/s", 10.0 if line_bytes == 100 else 3.0, Better.HIGHER
    )


def log_cost(line_bytes: int) -> Operation:
    """Processor time of the server and its helpers for those bytes."""
    return Operation(
        f"  processor time, lines of {line_bytes} bytes", "ms/MB", 0.2 if line_bytes == 100 else 0.5
    )


def stream_cost(operation: Operation) -> Operation:
    """Processor time of the server for what a stream carried."""
    return Operation(f"  processor time, {operation.name}", "ms/MB")


def threads_rate(step: str, threads: int) -> Operation:
    """How many containers, each in a pod of its own, so many clients start, stop or delete in a second."""
    return Operation(f"{step}, {threads} at a time", "1/s", better=Better.HIGHER)


def fleet(operation: str) -> Operation:
    """A call on a node with 500 containers in 150 pods."""
    return Operation(f"{operation}, 150 pods with 500 containers", "ms")


def pressure(call: str, percent: int) -> Operation:
    """A percentile of the time of a call under the kubelet's load."""
    return Operation(f"{call} under pressure, p{percent}", "ms")


PRESSURE_COST = Operation("processor time under pressure", "ms/s")
PRESSURE_MEMORY = Operation("resident memory under pressure", "MiB")
LOOP_LAG = Operation("event loop lag under pressure, p99", "ms")


@dataclass(slots=True)
class Measurements:
    """All values, by operation and server, in the order of the first measurement."""

    values: dict[Operation, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, operation: Operation, server: str, value: float) -> None:
        """Note one value in the operation's unit."""
        self.values.setdefault(operation, {}).setdefault(server, []).append(value)

    def reached(self, operation: Operation) -> bool | None:
        """Whether the operation's goal, or its limit, is reached; None where it has neither, or was not measured."""
        ratio, ours = self.ratio(operation), self.medians(operation).get(CRI_SHIM)
        verdicts = []
        if operation.goal is not None and ratio is not None:
            verdicts.append(operation.reached(ratio))
        if operation.limit is not None and ours is not None:
            verdicts.append(ours <= operation.limit)
        return all(verdicts) if verdicts else None

    def medians(self, operation: Operation) -> Mapping[str, float]:
        """The median by server."""
        return {server: statistics.median(values) for server, values in self.values[operation].items()}

    def ratio(self, operation: Operation) -> float | None:
        """Ours to theirs; None unless both were measured."""
        medians = self.medians(operation)
        if CRI_SHIM not in medians or not medians.get(BUILT_IN):
            return None
        return medians[CRI_SHIM] / medians[BUILT_IN]
