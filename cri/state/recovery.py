"""What the node holds, worked out from what containerd and the kernel say after a restart. A pure function.

    record of a container      task in containerd      outcome
    ---------------------      ------------------      -------
    created                    none                    created, as it was
    created or running         running                 running: it never noticed
    created                    created                 the start was cut off: StartError, task to be deleted
    created or running         stopped                 exited with the task's code and time, which are recorded now
    running                    none                    lost: exited with 255, Unknown (a reboot, or a removed task)
    exited                     any                     exited, as recorded; a task left over is to be deleted

A sandbox is ready if its task runs and its network namespace is pinned. A record that cannot be read is quarantined:
reported, left alone, never fatal. Containers whose sandbox has no record are kept, so that they can be removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from api.containerd import Container as ContainerdContainer
from api.containerd import Process, ProcessStatus
from cri.state.container_status import ContainerStatus, Phase
from cri.state.records import (
    KIND_CONTAINER,
    KIND_LABEL,
    KIND_SANDBOX,
    BadRecordError,
    ContainerRecord,
    SandboxRecord,
    StatusRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from api.wire import criv1

ALIVE = frozenset({ProcessStatus.RUNNING, ProcessStatus.PAUSED, ProcessStatus.PAUSING})


@dataclass(frozen=True, slots=True)
class Observed:
    """What was found."""

    records: Sequence[ContainerdContainer]
    tasks: Mapping[str, Process]
    """Init processes by container id."""
    namespace_pinned: Callable[[str], bool]
    """Whether a network namespace is pinned at a path."""
    now: int
    """Unix nanoseconds."""


@dataclass(frozen=True, slots=True)
class RecoveredSandbox:
    """A sandbox, and whether containerd still holds an ended process of it."""

    record: SandboxRecord
    containerd: ContainerdContainer
    ready: bool
    pid: int
    stale_task: bool
    namespace_gone: bool


@dataclass(frozen=True, slots=True)
class RecoveredContainer:
    """A container with its status as it is now."""

    record: ContainerRecord
    containerd: ContainerdContainer
    status: ContainerStatus
    resources: criv1.ContainerResources
    changed: bool
    """The status differs from the stored one and must be written."""
    stale_task: bool
    """containerd holds a process that is to be deleted (killed first if it was never started)."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The outcome for all records."""

    sandboxes: list[RecoveredSandbox] = field(default_factory=list)
    containers: list[RecoveredContainer] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)
    """Reason by container id."""


def recover(observed: Observed) -> Recovery:
    """Work out every sandbox and container; records of other kinds are other people's and are passed over."""
    outcome = Recovery()
    for container in observed.records:
        kind = container.labels.get(KIND_LABEL)
        task = observed.tasks.get(container.id)
        try:
            if kind == KIND_SANDBOX:
                outcome.sandboxes.append(_sandbox(container, task, observed))
            elif kind == KIND_CONTAINER:
                outcome.containers.append(_container(container, task, observed.now))
        except BadRecordError as error:
            outcome.quarantined[container.id] = str(error)
    outcome.sandboxes.sort(key=lambda sandbox: sandbox.record.created_at)
    outcome.containers.sort(key=lambda container: container.status.created_at)
    return outcome


def _sandbox(container: ContainerdContainer, task: Process | None, observed: Observed) -> RecoveredSandbox:
    record = SandboxRecord.from_containerd(container)
    alive = task is not None and task.status in ALIVE
    pinned = record.host_network or observed.namespace_pinned(record.network_namespace)
    attached = record.host_network or record.cni_result is not None
    return RecoveredSandbox(
        record=record,
        containerd=container,
        ready=alive and pinned and attached,
        pid=task.pid if alive and task is not None else 0,
        stale_task=task is not None and not alive,
        namespace_gone=not pinned,
    )


def _container(container: ContainerdContainer, task: Process | None, now: int) -> RecoveredContainer:
    record = ContainerRecord.from_containerd(container)
    stored = StatusRecord.from_containerd(container)
    if stored is None:
        stored = StatusRecord(ContainerStatus(Phase.CREATED, created_at=container.created_at))
    status = _status(stored.status, task, now)
    return RecoveredContainer(
        record=record,
        containerd=container,
        status=status,
        resources=stored.resources,
        changed=status.phase is not stored.status.phase,
        stale_task=task is not None and task.status not in ALIVE,
    )


def _status(stored: ContainerStatus, task: Process | None, now: int) -> ContainerStatus:
    if stored.phase is Phase.EXITED:
        return stored
    if task is None:
        if stored.phase is Phase.CREATED:
            return stored
        return stored.lost(now, "the container's process was gone when the runtime came back")
    if task.status in ALIVE:
        if stored.phase is Phase.CREATED:
            return stored.starting().running(task.pid, now)
        return replace(stored, phase=Phase.RUNNING, pid=task.pid)
    if task.status is ProcessStatus.STOPPED:
        begun = (
            stored.starting().running(task.pid, stored.created_at)
            if stored.phase is Phase.CREATED
            else stored
        )
        return begun.exited(task.exit_status, task.exited_at or now, oom_killed=False)
    if stored.phase is Phase.CREATED:
        return stored.starting().start_failed(now, "the runtime was stopped while it started the container")
    return stored.lost(now, f"containerd reports the container's process as {task.status.name.lower()}")
