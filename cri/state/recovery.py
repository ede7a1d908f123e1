"""What the node holds, worked out from what containerd and the kernel say after a restart. A pure function.

    record of a container      task in containerd      outcome
    ---------------------      ------------------      -------
    created                    none                    created, as it was; half-made if its snapshot is not there either
    created, start asked for   none                    lost: whether its process ran, and how it ended, nobody knows
    created or running         running                 running: it never noticed
    created or running         created                 the start was cut off: StartError, task to be deleted
    created                    stopped by SIGKILL      the start was cut off: containerd kills what it undoes
    created or running         stopped                 exited with the task's code and time, which are recorded now
    running                    none                    lost: exited with 255, Unknown (a reboot, or a removed task)
    created or running         unknown                 as recorded; its shim did not answer in time and is asked again
    exited                     any                     exited, as recorded; a task left over is to be deleted

A sandbox is ready if its task runs and its network namespace is pinned; or, where mounts hold it, if all its namespaces
are pinned and it is of this boot. One that was never attached to its network is half-made: its creation was cut off,
nobody was told its id, and it is undone. So is one on the host's network without process and snapshot; where no process
is expected, nothing tells such a one from one that was stopped, and it is only not ready.

A record that cannot be read, or whose name another one has, is quarantined: reported, left alone, never fatal.
Containers whose sandbox has no record are kept, so that they can be removed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from api.containerd import Container as ContainerdContainer
from api.containerd import Process, ProcessStatus
from cri.state.container_status import SIGKILL_EXIT_CODE, ContainerStatus, Phase
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
    from cri.state.pins import Pins

ALIVE = frozenset({ProcessStatus.RUNNING, ProcessStatus.PAUSED, ProcessStatus.PAUSING})
CUT_OFF = "the runtime was stopped while it started the container"
PERHAPS_RAN = (
    "the runtime and containerd were stopped while they started the container; whether it ran is not known"
)

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Observed:
    """What was found."""

    records: Sequence[ContainerdContainer]
    tasks: Mapping[str, Process]
    """Init processes by container id."""
    namespace_pinned: Callable[[str], bool]
    """Whether a namespace is pinned at a path."""
    now: int
    """Unix nanoseconds."""
    boot_id: str = ""
    has_snapshot: Callable[[str, str], bool] = lambda _snapshotter, _key: True
    """Whether a snapshotter has a key; true where it cannot be asked."""
    start_asked: Callable[[str], bool] = lambda _id: False
    """Whether containerd was asked to start a container's process in this boot."""
    oom_killed: Callable[[ContainerdContainer], bool] = lambda _record: False
    """Whether the kernel killed a process in the container's cgroup for want of memory."""


@dataclass(frozen=True, slots=True)
class RecoveredSandbox:
    """A sandbox, and whether containerd still holds an ended process of it."""

    record: SandboxRecord
    containerd: ContainerdContainer
    ready: bool
    pid: int
    stale_task: bool
    """containerd may hold something of a process that has ended, or has one that is not to be."""
    held: bool
    """Process or mounts hold its namespaces, as far as is known."""
    namespace_gone: bool
    address_held: bool
    """A reboot took the namespace, and CNI still keeps the address for it."""
    half_made: bool
    """Its creation was cut off; it is to be removed with all that it has."""
    unanswered: bool
    """Its shim did not say whether the process lives: it counts as alive until it does."""


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
    half_made: bool
    """Its creation was cut off before it had a snapshot; it is to be removed."""
    unanswered: bool
    """Its shim did not say what became of the process."""


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
                outcome.sandboxes.append(_sandbox(_checked(container), task, observed))
            elif kind == KIND_CONTAINER:
                outcome.containers.append(_container(_checked(container), task, observed))
        except BadRecordError as error:
            outcome.quarantined[container.id] = str(error)
    _part_namesakes(outcome)
    outcome.sandboxes.sort(key=lambda sandbox: (sandbox.record.created_at, sandbox.record.id))
    outcome.containers.sort(key=lambda container: (container.status.created_at, container.record.id))
    return outcome


def _checked(container: ContainerdContainer) -> ContainerdContainer:
    """Ids become parts of paths; one that is none of a CRI server's is not trusted with that."""
    if not _ID.fullmatch(container.id):
        raise BadRecordError("its id is not 64 hexadecimal digits")
    return container


def _part_namesakes(outcome: Recovery) -> None:
    """Of records with one name the one that lives keeps it, else the newest."""
    sandboxes = sorted(outcome.sandboxes, key=lambda found: (found.ready, found.record.created_at))
    containers = sorted(
        outcome.containers,
        key=lambda found: (found.status.phase is Phase.RUNNING, found.status.created_at),
    )
    outcome.sandboxes[:] = _with_names_of_their_own(sandboxes, outcome)
    outcome.containers[:] = _with_names_of_their_own(containers, outcome)


R = TypeVar("R", RecoveredSandbox, RecoveredContainer)


def _with_names_of_their_own(found: list[R], outcome: Recovery) -> list[R]:
    holders = {each.record.name: each for each in found}  # the last one of a name
    for each in found:
        holder = holders[each.record.name]
        if holder is not each:
            outcome.quarantined[each.record.id] = (
                f"its name {each.record.name!r} belongs to {holder.record.id}, too"
            )
    return list(holders.values())


def _sandbox(container: ContainerdContainer, task: Process | None, observed: Observed) -> RecoveredSandbox:
    record = SandboxRecord.from_containerd(container)
    if record.pins is None:
        return _held_by_process(record, container, task, observed)
    return _held_by_mounts(record, record.pins, container, task, observed)


def _held_by_mounts(
    record: SandboxRecord,
    pins: Pins,
    container: ContainerdContainer,
    task: Process | None,
    observed: Observed,
) -> RecoveredSandbox:
    """A task is one that a hand-back did not get to the end with."""
    same_boot = pins.boot_id == observed.boot_id
    held = same_boot and all(observed.namespace_pinned(path) for path in record.pinned)
    attached = record.host_network or record.cni_result is not None
    return RecoveredSandbox(
        record=record,
        containerd=container,
        ready=held and attached,
        pid=0,
        stale_task=task is not None,
        held=held,
        namespace_gone=not held,
        # In the same boot there may be containers in a namespace that has lost its pin.
        address_held=not same_boot and attached and not record.host_network,
        half_made=not attached,
        unanswered=False,
    )


def _held_by_process(
    record: SandboxRecord, container: ContainerdContainer, task: Process | None, observed: Observed
) -> RecoveredSandbox:
    unanswered = task is not None and task.status is ProcessStatus.UNKNOWN
    alive = task is not None and (task.status in ALIVE or unanswered)
    pinned = record.host_network or observed.namespace_pinned(record.network_namespace)
    attached = record.host_network or record.cni_result is not None
    never_began = task is None and not observed.has_snapshot(container.snapshotter, container.snapshot_key)
    never_started = task is not None and task.status is ProcessStatus.CREATED
    return RecoveredSandbox(
        record=record,
        containerd=container,
        ready=alive and pinned and attached,
        pid=task.pid if alive and task is not None else 0,
        stale_task=not alive,
        held=alive,
        namespace_gone=not pinned,
        address_held=not pinned and not alive and not record.host_network and attached,
        half_made=not attached or (record.host_network and (never_began or never_started)),
        unanswered=unanswered,
    )


def _container(
    container: ContainerdContainer, task: Process | None, observed: Observed
) -> RecoveredContainer:
    record = ContainerRecord.from_containerd(container)
    stored = StatusRecord.from_containerd(container)
    if stored is None:
        stored = StatusRecord(ContainerStatus(Phase.CREATED, created_at=container.created_at))
    killed = task is not None and task.exit_status == SIGKILL_EXIT_CODE and observed.oom_killed(container)
    status = _status(stored.status, task, observed.now, oom_killed=killed)
    if task is None and status.phase is Phase.CREATED and observed.start_asked(container.id):
        status = status.lost(observed.now, PERHAPS_RAN)
    unanswered = task is not None and task.status is ProcessStatus.UNKNOWN
    created = task is None and status.phase is Phase.CREATED
    return RecoveredContainer(
        record=record,
        containerd=container,
        status=status,
        resources=stored.resources,
        changed=status.phase is not stored.status.phase,
        stale_task=task is not None and task.status not in ALIVE and not _open(unanswered, status),
        half_made=created and not observed.has_snapshot(container.snapshotter, container.snapshot_key),
        unanswered=_open(unanswered, status),
    )


def _open(unanswered: bool, status: ContainerStatus) -> bool:  # noqa: FBT001
    """Whether what the shim will say still matters."""
    return unanswered and status.phase is not Phase.EXITED


def _undone(task: Process) -> bool:
    return task.status is ProcessStatus.STOPPED and task.exit_status == SIGKILL_EXIT_CODE


def _status(stored: ContainerStatus, task: Process | None, now: int, *, oom_killed: bool) -> ContainerStatus:
    if stored.phase is Phase.EXITED or (task is not None and task.status is ProcessStatus.UNKNOWN):
        return stored
    if task is None:
        if stored.phase is Phase.CREATED:
            return stored
        return stored.lost(now, "the container's process was gone when the runtime came back")
    if task.status in ALIVE:
        if stored.phase is Phase.CREATED:
            return stored.starting().running(task.pid, now)
        return replace(stored, phase=Phase.RUNNING, pid=task.pid)
    if stored.phase is Phase.CREATED and _undone(task) and not oom_killed:
        return stored.starting().start_failed(now, CUT_OFF)
    if task.status is ProcessStatus.STOPPED:
        begun = (
            stored.starting().running(task.pid, stored.created_at)
            if stored.phase is Phase.CREATED
            else stored
        )
        return begun.exited(task.exit_status, task.exited_at or now, oom_killed=oom_killed)
    if task.status is ProcessStatus.CREATED:  # the record may say running: that is written beside the start
        begun = replace(stored, phase=Phase.STARTING, started_at=0)
        return begun.start_failed(now, CUT_OFF)
    return stored.lost(now, f"containerd reports the container's process as {task.status.name.lower()}")
