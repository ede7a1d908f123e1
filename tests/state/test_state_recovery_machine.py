"""Any history of a node, broken off at any point: what the next server makes of it.

The machine plays the servers, containerd, the shims and the kernel, step by step as records and tasks change in truth,
and remembers what really became of each process. After every step the server could have died; so after every step the
node is recovered, and the outcome compared with the truth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from api.containerd import Container as ContainerdContainer
from api.containerd import Process, ProcessStatus, TypedValue
from api.wire import criv1
from cri.state.container_status import ContainerStatus, Phase
from cri.state.pins import Pins
from cri.state.records import (
    CONTAINER_EXTENSION,
    KIND_LABEL,
    SANDBOX_EXTENSION,
    STATUS_EXTENSION,
    ContainerRecord,
    SandboxRecord,
    StatusRecord,
)
from cri.state.recovery import ALIVE, Observed, RecoveredContainer, RecoveredSandbox, Recovery, recover

RUNS = 2000 if "CI" in os.environ else 200
STEPS = 12
CODES = st.one_of(st.just(137), st.integers(0, 255))
TIMES = st.integers(1, 10**6)


@dataclass
class Pod:
    """A sandbox: what its record says, and what is so."""

    record: SandboxRecord
    pinned: bool = True
    """Whatever its record says is pinned."""
    snapshot: bool = False


@dataclass
class Truth:
    """A container: what its record says, and what became of its process."""

    record: ContainerRecord
    stored: ContainerStatus
    snapshot: bool = False
    pid: int = 0
    """Of the process that was started, 0 before."""
    asked: bool = False
    """Its start was asked for in this boot."""
    ran: bool = False
    """Its process has run in this boot."""
    ended: tuple[int, int] | None = None
    """Exit code and time, once containerd knows."""


@dataclass
class World:
    """containerd and the kernel."""

    pods: dict[str, Pod] = field(default_factory=dict)
    containers: dict[str, Truth] = field(default_factory=dict)
    tasks: dict[str, Process] = field(default_factory=dict)
    strange: list[ContainerdContainer] = field(default_factory=list)
    clock: int = 1000
    number: int = 0
    boot: int = 0

    def identifier(self) -> str:
        self.number += 1
        return f"{self.number:064x}"

    def observed(self) -> Observed:
        """What a server that starts now sees."""
        records = [_sandbox_record(each) for each in self.pods.values()]
        records += [_container_record(each) for each in self.containers.values()]
        pinned = {path for each in self.pods.values() if each.pinned for path in each.record.pinned}
        snapshots = {key for key, each in (*self.pods.items(), *self.containers.items()) if each.snapshot}
        return Observed(
            records=[*records, *self.strange],
            tasks=dict(self.tasks),
            namespace_pinned=pinned.__contains__,
            now=self.clock,
            boot_id=f"boot {self.boot}",
            has_snapshot=lambda _snapshotter, key: key in snapshots,
            start_asked=lambda identifier: self.containers[identifier].asked,
        )


def _sandbox_record(pod: Pod) -> ContainerdContainer:
    return ContainerdContainer(
        id=pod.record.id,
        labels={KIND_LABEL: "sandbox"},
        snapshotter="overlayfs",
        snapshot_key=pod.record.id,
        created_at=1,
        extensions=pod.record.extensions(),
    )


def _container_record(container: Truth) -> ContainerdContainer:
    stored = StatusRecord(container.stored)
    return ContainerdContainer(
        id=container.record.id,
        labels={KIND_LABEL: "container"},
        snapshotter="overlayfs",
        snapshot_key=container.record.id,
        created_at=container.stored.created_at,
        extensions={
            CONTAINER_EXTENSION: container.record.to_extension(),
            STATUS_EXTENSION: stored.to_extension(),
        },
    )


class NodeMachine(RuleBasedStateMachine):
    """Everything that can happen to a node."""

    pods = Bundle("pods")
    containers = Bundle("containers")
    with_task = Bundle("with_task")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    # -- pods

    @rule(target=pods, host_network=st.booleans(), by_mounts=st.booleans())
    def record_pod(self, host_network: bool, by_mounts: bool) -> str:
        identifier = self.world.identifier()
        short = identifier[-8:]
        namespace = "" if host_network else f"/run/netns/{short}"
        pins = Pins(f"boot {self.world.boot}", ipc=f"/state/{short}/ipc") if by_mounts else None
        config = criv1.PodSandboxConfig()
        record = SandboxRecord(identifier, f"pod{short}", config, namespace, "", pins=pins)
        self.world.pods[identifier] = Pod(record)
        return identifier

    @rule(pod=pods)
    def somebody_unmounts_a_pin(self, pod: str) -> None:
        self.world.pods[pod].pinned = False

    @rule(pod=pods)
    def prepare_snapshot_of_pod(self, pod: str) -> None:
        self.world.pods[pod].snapshot = True

    @rule(pod=pods)
    def attach_to_network(self, pod: str) -> None:
        held = self.world.pods[pod]
        if held.record.network_namespace and held.pinned:
            held.record = held.record.with_network(("10.0.0.1",), {"Interfaces": {}})

    @rule(pod=pods, status=st.sampled_from([ProcessStatus.CREATED, ProcessStatus.RUNNING]))
    def task_of_pod(self, pod: str, status: ProcessStatus) -> None:
        if self.world.pods[pod].snapshot:
            self.world.tasks[pod] = _process(pod, status, pid=7)

    @rule(pod=pods)
    def pods_process_ends(self, pod: str) -> None:
        if pod in self.world.tasks:
            self.world.tasks[pod] = _process(pod, ProcessStatus.STOPPED, pid=7, code=137, at=self.world.clock)

    @rule(pod=consumes(pods))
    def pods_record_is_lost(self, pod: str) -> None:
        """Somebody removed it by hand."""
        del self.world.pods[pod]
        self.world.tasks.pop(pod, None)

    # -- containers, in the order in which the server does it

    @rule(target=containers, pod=pods)
    def record_container(self, pod: str) -> str:
        identifier = self.world.identifier()
        config = criv1.ContainerConfig()
        record = ContainerRecord(identifier, f"app{identifier[-8:]}", pod, config, "image", "")
        self.world.containers[identifier] = Truth(record, ContainerStatus(Phase.CREATED, self.world.clock))
        return identifier

    @rule(container=containers)
    def prepare_snapshot(self, container: str) -> None:
        self.world.containers[container].snapshot = True

    @rule(target=with_task, container=containers)
    def create_task(self, container: str) -> object:
        held = self.world.containers[container]
        if not held.snapshot or container in self.world.tasks or held.stored.phase is not Phase.CREATED:
            return multiple()
        held.pid = self.world.number + 100
        self.world.tasks[container] = _process(container, ProcessStatus.CREATED, held.pid)
        return container

    @rule(container=with_task)
    def ask_for_start(self, container: str) -> None:
        if container in self.world.tasks:
            self.world.containers[container].asked = True

    @rule(container=with_task)
    def start_task(self, container: str) -> None:
        held = self.world.containers[container]

        def started(task: Process) -> Process:
            held.asked = held.ran = True
            return replace(task, status=ProcessStatus.RUNNING)

        self._change(container, ProcessStatus.CREATED, started)

    @rule(container=with_task)
    def store_running(self, container: str) -> None:
        """Beside the start: the one or the other may come first."""
        held = self.world.containers[container]
        if held.stored.phase is Phase.CREATED and container in self.world.tasks:
            held.stored = held.stored.starting().running(held.pid, self.world.clock)

    @rule(container=with_task, code=CODES)
    def process_ends(self, container: str, code: int) -> None:
        at = self.world.clock

        def ended(task: Process) -> Process:
            self.world.containers[container].ended = (code, at)
            return replace(task, status=ProcessStatus.STOPPED, exit_status=code, exited_at=at)

        self._change(container, ProcessStatus.RUNNING, ended)
        self.world.clock += 1

    @rule(container=with_task)
    def store_exit(self, container: str) -> None:
        held = self.world.containers[container]
        if held.ended and held.stored.phase is Phase.RUNNING:
            held.stored = held.stored.exited(*held.ended, oom_killed=False)

    @rule(container=with_task)
    def delete_task(self, container: str) -> None:
        if self.world.containers[container].stored.phase is Phase.EXITED:
            self.world.tasks.pop(container, None)

    @rule(container=with_task)
    def shim_hangs(self, container: str) -> None:
        if container in self.world.tasks:
            self.world.tasks[container] = replace(self.world.tasks[container], status=ProcessStatus.UNKNOWN)

    @rule(container=with_task)
    def shim_is_killed(self, container: str) -> None:
        """containerd cleans up after it, and the exit is lost unless it was stored."""
        if self.world.tasks.pop(container, None) is not None:
            self._forget_end(container)

    # -- the node

    @rule()
    def reboot(self) -> None:
        for container in list(self.world.tasks.keys() & self.world.containers.keys()):
            self._forget_end(container)
        self.world.tasks.clear()
        for each in self.world.containers.values():
            each.asked = each.ran = False
        for pod in self.world.pods.values():
            pod.pinned = False
        self.world.boot += 1

    @rule(clock=TIMES)
    def clock_is_set(self, clock: int) -> None:
        self.world.clock = clock

    @rule(value=st.binary(max_size=12), kind=st.sampled_from(["sandbox", "container", "something else"]))
    def strange_record(self, value: bytes, kind: str) -> None:
        extensions = {
            name: TypedValue("strange", value)
            for name in (SANDBOX_EXTENSION, CONTAINER_EXTENSION, STATUS_EXTENSION)
        }
        self.world.strange.append(
            ContainerdContainer(
                id=self.world.identifier(), labels={KIND_LABEL: kind}, created_at=1, extensions=extensions
            )
        )

    @rule()
    def recovery_is_carried_out(self) -> None:
        """As settlement does: write what was learnt, then delete the tasks; remove what is half-made."""
        outcome = recover(self.world.observed())
        for each in outcome.containers:
            self._settle(each)
        for pod in outcome.sandboxes:
            if pod.half_made or pod.stale_task:
                self.world.tasks.pop(pod.record.id, None)
        again = recover(self.world.observed())
        assert not any(each.changed or each.stale_task for each in again.containers)
        before = {each.record.id: each.status for each in outcome.containers}
        assert {each.record.id: each.status for each in again.containers} == before

    @invariant()
    def everything_is_somewhere_and_true(self) -> None:
        outcome = recover(self.world.observed())
        found = [each.record.id for each in (*outcome.sandboxes, *outcome.containers)]
        ours = {*self.world.pods, *self.world.containers}
        assert len(set(found)) == len(found)
        assert ours == set(found), "strange records disturb nobody"
        known = {each.id for each in self.world.strange if each.labels[KIND_LABEL] != "something else"}
        assert set(outcome.quarantined) == known
        self._check(outcome)

    def _check(self, outcome: Recovery) -> None:
        for each in outcome.containers:
            check_container(self.world, each)
        for pod in outcome.sandboxes:
            check_pod(self.world, pod)

    def _change(self, container: str, before: ProcessStatus, change: Callable[[Process], Process]) -> None:
        task = self.world.tasks.get(container)
        if task is not None and task.status is before:
            self.world.tasks[container] = change(task)

    def _forget_end(self, container: str) -> None:
        held = self.world.containers[container]
        if held.stored.phase is not Phase.EXITED:
            held.ended = None

    def _settle(self, each: RecoveredContainer) -> None:
        held = self.world.containers[each.record.id]
        if each.changed:
            held.stored = each.status
            if each.status.phase is Phase.EXITED:
                held.ended = (each.status.exit_code, each.status.finished_at)
        if each.stale_task:
            self.world.tasks.pop(each.record.id, None)


def _process(identifier: str, status: ProcessStatus, pid: int, code: int = 0, at: int = 0) -> Process:
    return Process(identifier, "", pid, status, code, at, "", "", "", terminal=False)


def check_container(world: World, found: RecoveredContainer) -> None:
    """The status is what became of the process, as far as anybody knows it."""
    held, task = world.containers[found.record.id], world.tasks.get(found.record.id)
    status = found.status
    assert status.created_at >= 0
    assert status.finished_at == 0 or status.finished_at >= max(status.started_at, status.created_at)
    assert status.started_at == 0 or status.started_at >= status.created_at
    assert status.phase in (Phase.CREATED, Phase.RUNNING, Phase.EXITED), "nothing is left open"
    assert found.changed == (status.phase is not held.stored.phase)
    assert not (held.ran and status.phase is Phase.CREATED and not found.unanswered), "it would run twice"
    if held.stored.phase is Phase.EXITED:
        assert status == held.stored, "what had ended stays as recorded"
        assert found.stale_task == (task is not None)
    elif task is None:
        lost = held.stored.phase is Phase.RUNNING or held.asked
        assert (status.phase, status.exit_code) == ((Phase.EXITED, 255) if lost else (Phase.CREATED, 0))
        assert found.half_made == (not lost and not held.snapshot)
    elif task.status is ProcessStatus.UNKNOWN:
        assert (status, found.unanswered, found.stale_task) == (held.stored, True, False)
    elif task.status in ALIVE:
        assert (status.phase, status.pid, found.stale_task) == (Phase.RUNNING, held.pid, False)
    elif task.status is ProcessStatus.CREATED:
        assert (status.phase, status.reason, found.stale_task) == (Phase.EXITED, "StartError", True)
    elif held.stored.phase is Phase.CREATED and task.exit_status == 137:
        assert (status.reason, found.stale_task) == ("StartError", True), "containerd kills what it undoes"
    else:
        assert held.ended is not None
        assert (status.phase, status.exit_code, found.stale_task) == (Phase.EXITED, held.ended[0], True)
        assert status.finished_at == max(held.ended[1], status.started_at)


def check_pod(world: World, found: RecoveredSandbox) -> None:
    """A pod is ready if all that it needs is there; and if nobody can have been told of it, it is half-made."""
    held, task = world.pods[found.record.id], world.tasks.get(found.record.id)
    attached = held.record.host_network or held.record.cni_result is not None
    if held.record.pins is not None:
        same_boot = held.record.pins.boot_id == f"boot {world.boot}"
        assert found.ready == (attached and held.pinned and same_boot)
        assert found.half_made == (not attached)
        assert found.stale_task == (task is not None), "none is its own"
        assert found.address_held == (attached and not same_boot and not held.record.host_network)
        return
    alive = task is not None and task.status in ALIVE
    assert found.ready == (alive and attached and (held.pinned or held.record.host_network))
    assert found.half_made or attached
    assert not (found.ready and found.half_made)
    assert not (found.address_held and (alive or held.pinned))


TestNodeMachine = pytest.mark.timeout(600)(NodeMachine.TestCase)
TestNodeMachine.settings = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
