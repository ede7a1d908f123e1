"""What is seen of containerd, and what is made of what was missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from api.containerd import Client
from api.wire import criv1
from api.wire.containerd import event_types_pb2, process_pb2
from cri.concurrency.supervision import Supervisor
from cri.container import exit as container_exit
from cri.container import start as container_start
from cri.container.fifos import open_output, streams_of
from cri.container.handlers import SandboxMode
from cri.errors import Unavailable
from cri.linux.mounts import unmount
from cri.sandbox import node_status, observer, recovery
from cri.sandbox import settlement as recovery_settlement
from cri.sandbox import tasks as sandbox_tasks
from cri.sandbox.files import release_mounts
from cri.state.container_status import Phase
from tests.double.containerd import until
from tests.double.scripts import Script
from tests.node import BY_MOUNTS, BY_PROCESS, DoubleNode, World, started


@pytest.fixture
async def restarted(node: DoubleNode) -> AsyncIterator[Restarted]:
    """Starts further servers on the node's world."""
    async with Supervisor() as supervisor, Client(node.containerd.address) as client:
        yield Restarted(node, client, supervisor)


class Restarted:
    def __init__(self, node: DoubleNode, client: Client, supervisor: Supervisor) -> None:
        self._node, self._client, self._supervisor = node, client, supervisor
        self.mode = node.mode

    async def __call__(self) -> DoubleNode:
        """A second server; the first one does not notice and is not used any more."""
        paths = self._node.pods.engine.paths
        world = World(
            self._node.containerd, paths.root.parent, self._node.keeper, self._node.network, self.mode
        )
        return await started(world, self._client, self._supervisor)


@BY_PROCESS
async def test_a_pod_whose_process_dies_before_it_is_ready_is_no_pod(node: DoubleNode):
    node.containerd.script("*", Script(exit_code=1))
    node.network.hold.clear()
    run = asyncio.get_running_loop().create_task(node.sandboxes.run(node.pod_config(), ""))
    await until(lambda: "Tasks.Start" in node.containerd.methods())
    await until(lambda: any(forming.ended.is_set() for forming in node.node.forming.values()))
    node.network.hold.set()
    with pytest.raises(Unavailable, match="ended before the pod was ready"):
        await run
    await node.settled()
    node.assert_nothing_left()


async def test_a_container_that_was_started_after_the_list_is_not_lost(node: DoubleNode):
    """A reconcile compares a list of tasks with the index, and a start may come in between."""
    _, container = await node.running()
    reconciled = node.containers.get(container)
    node.observer._compare(reconciled, None)
    await node.settled()
    assert reconciled.running


async def test_a_container_without_a_task_is_lost(node: DoubleNode):
    _, container = await node.running()
    del node.containerd.state.namespace("k8s.io").tasks[container]
    node.observer._compare(node.containers.get(container), None)
    await node.settled()
    status = node.containers.get(container).status
    assert (status.phase, status.exit_code, status.reason) == (Phase.EXITED, 255, "Unknown")


async def test_an_event_that_cannot_be_handled_costs_no_other(node: DoubleNode):
    _, container = await node.running()

    node.containerd.exchange.publish("k8s.io", "/tasks/oom", event_types_pb2.TaskOOM(container_id=""))
    node.containerd.process(container).exit(3)
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 5)
    assert node.observer.connected.is_set()


async def test_what_a_cut_event_stream_missed_is_learnt_by_a_list(node: DoubleNode):
    _, container = await node.running()
    exchange = node.containerd.exchange
    hang = node.containerd.hang("Events.Subscribe")
    exchange.cut()
    await until(lambda: not node.observer.connected.is_set())
    node.containerd.process(container).exit(3)
    assert not node.containers.get(container).exited.is_set(), "nobody can tell"
    node.containerd.heal()
    hang.release()
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 10)
    assert node.containers.get(container).status.exit_code == 3
    assert exchange.subscribers == 1


async def test_a_containerd_that_hangs_makes_the_node_unready_with_a_reason(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(observer, "PROBE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(observer, "PROBE_SECONDS", 0.1)
    await node.containerd.stop()  # the loop that probes was started with the old pause
    await until(lambda: not node.observer.connected.is_set())
    await node.containerd.start()
    await until(node.observer.connected.is_set, 20)
    hang = node.containerd.hang("*")
    await until(lambda: not node.observer.connected.is_set(), 20)
    ready = node_status.status_message(node.pods, node.observer).conditions[0]
    assert (ready.type, ready.status, ready.reason) == ("RuntimeReady", False, "ContainerdNotReady")
    assert "Version.Version" in ready.message
    node.containerd.heal()
    hang.release()
    await until(node.observer.connected.is_set, 30)
    assert node.observer.problem == ""


async def test_an_exit_that_cannot_be_stored_for_long_is_told_and_stored_later(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(container_exit, "FIRST_PAUSE_SECONDS", 0.001)
    _, container = await node.running()
    node.containerd.fail("Containers.Update", grpc.StatusCode.UNKNOWN, "no space left on device", times=None)
    node.containerd.process(container).exit(3)
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 5)
    assert node.containers.get(container).status.exit_code == 3
    assert container in node.containerd.leftovers().tasks, "the task is the only lasting witness"
    node.containerd.heal()
    await asyncio.wait_for(node.containers.get(container).task_deleted.wait(), 5)
    assert (
        b'"exitCode": 3'
        in node.containerd.state.namespace("k8s.io")
        .containers[container]
        .extensions["io.cri-shim.container.status"]
        .value
    )


async def test_a_shim_that_hangs_over_a_restart_costs_no_container_its_life(
    node: DoubleNode, restarted: Restarted, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recovery_settlement, "FIRST_PAUSE_SECONDS", 0.01)
    pod, container = await node.running()
    holder = node.sandboxes.get(pod).pid
    processes = [node.containerd.process(each) for each in ([pod] if holder else []) + [container]]
    for process in processes:
        process.status = process_pb2.UNKNOWN
    second = await restarted()
    assert second.sandboxes.get(pod).ready
    assert second.containers.get(container).running
    for process in processes:
        process.status = process_pb2.RUNNING
    await until(lambda: second.containers.get(container).status.pid == processes[-1].pid)
    await until(lambda: second.sandboxes.get(pod).pid == holder)
    await second.containers.stop(container, 10)
    assert second.containers.get(container).status.exit_code == 143


async def test_a_shim_that_waits_for_a_reader_after_an_earlier_one_ended_gets_one(
    node: DoubleNode, restarted: Restarted
):
    """Two servers were killed in the middle of the start; the shim answers nobody until its open returns."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    await open_output(node.pods.engine, streams_of(node.pods.engine, node.containers.get(container)), None)
    node.keeper.writers_left(container)
    await node.client.tasks.create(container, mounts=[])
    node.containerd.process(container).status = process_pb2.UNKNOWN
    second = await restarted()
    await until(lambda: bool(second.keeper.followed[container]))
    node.containerd.process(container).status = process_pb2.CREATED
    await until(lambda: second.containers.get(container).status.phase is Phase.EXITED)


async def test_addresses_are_released_after_a_reboot(
    node: DoubleNode, restarted: Restarted, monkeypatch: pytest.MonkeyPatch
):
    pod, container = await node.running()
    reboot(node, monkeypatch)
    second = await restarted()
    await until(lambda: second.sandboxes.get(pod).network_released)
    assert not second.network.attached
    assert second.sandboxes.get(pod).state == criv1.SANDBOX_NOTREADY
    status = second.containers.get(container).status
    assert (status.phase, status.exit_code) == (Phase.EXITED, 255)
    active = [key for key in second.containerd.leftovers().snapshots if "sha256:" not in key]
    kept = [container] if second.sandboxes.get(pod).record.pins else [pod, container]
    assert sorted(active) == sorted(f"overlayfs/{each}" for each in kept), "kept until removed"
    await second.sandboxes.stop(pod)
    await second.sandboxes.remove(pod)
    await second.settled()
    second.assert_nothing_left()


async def test_a_del_that_fails_after_a_reboot_is_left_to_the_stop(
    node: DoubleNode, restarted: Restarted, monkeypatch: pytest.MonkeyPatch
):
    pod, _ = await node.running()
    reboot(node, monkeypatch)
    node.network.fail["DEL"] = Unavailable("the network's daemon is not up yet")
    second = await restarted()
    await second.settled()
    with pytest.raises(Unavailable, match="not up yet"):
        await second.sandboxes.stop(pod)
    second.network.fail.clear()
    await second.sandboxes.stop(pod)
    assert not second.network.attached
    await second.sandboxes.remove(pod)


async def test_a_retry_after_a_restart_is_handed_what_was_finished(node: DoubleNode, restarted: Restarted):
    pod = await node.sandboxes.run(node.pod_config(), "")
    second = await restarted()
    assert await second.sandboxes.run(second.pod_config(), "") == pod
    container = await second.containers.create(pod, second.container_config())
    third = await restarted()
    assert await third.containers.create(pod, third.container_config()) == container
    await third.sandboxes.remove(pod)


async def test_what_a_client_has_named_is_not_handed_over(node: DoubleNode, restarted: Restarted):
    pod = await node.sandboxes.run(node.pod_config(), "")
    second = await restarted()
    second.sandboxes.get(pod)
    with pytest.raises(Exception, match="belongs to"):
        await second.sandboxes.run(second.pod_config(), "")
    await second.sandboxes.remove(pod)


async def test_another_request_of_the_same_name_is_not_handed_over(node: DoubleNode, restarted: Restarted):
    pod = await node.sandboxes.run(node.pod_config(), "")
    second = await restarted()
    with pytest.raises(Exception, match="belongs to"):
        await second.sandboxes.run(second.pod_config(annotations={"other": "request"}), "")
    await second.sandboxes.remove(pod)


def reboot(node: DoubleNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes, mounts and pins are gone; containerd's database and CNI's reservations stay."""
    monkeypatch.setattr(recovery, "boot_id", lambda: "the next boot")
    node.containerd.state.namespace("k8s.io").tasks.clear()
    paths = node.pods.engine.paths
    for sandbox in node.node.sandboxes:
        unmount(paths.network_namespace(sandbox.id))
        release_mounts(paths, sandbox.id)


def task_exit(container: str, pid: int) -> event_types_pb2.TaskExit:
    return event_types_pb2.TaskExit(container_id=container, id=container, pid=pid, exit_status=137)


async def test_the_end_of_a_task_that_was_never_started_is_not_the_containers(node: DoubleNode):
    """containerd undoes a Tasks.Create whose caller was killed, and tells of it when the next server listens."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.exchange.publish("k8s.io", "/tasks/exit", task_exit(container, 4711))
    await until(lambda: "Tasks.Delete" in node.containerd.methods())
    await node.settled()
    assert node.containers.get(container).status.phase is Phase.CREATED
    await node.containers.start(container)
    assert node.containers.get(container).running


async def test_the_end_of_an_earlier_process_is_not_that_of_the_present_one(node: DoubleNode):
    _, container = await node.running()
    node.containerd.exchange.publish("k8s.io", "/tasks/exit", task_exit(container, 4711))
    await asyncio.sleep(0.05)
    await node.settled()
    assert node.containers.get(container).running


async def test_a_task_that_an_earlier_server_left_gives_way(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    await node.client.tasks.create(container, mounts=[])
    await node.containers.start(container)
    assert node.containers.get(container).running
    assert node.containers.get(container).status.pid == node.containerd.process(container).pid


async def test_output_that_ended_with_an_earlier_shim_is_read_again(node: DoubleNode):
    """A server was killed in the middle of the start, and then the shim that it had begun ended."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.keeper.writers_left(container)
    await asyncio.wait_for(node.containers.start(container), 5)
    assert node.containers.get(container).running


async def test_output_that_ends_with_an_earlier_task_is_read_again(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    await node.client.tasks.create(container, mounts=[])
    end_task = container_start.end_task

    async def ended(*arguments: Any) -> None:
        await end_task(*arguments)
        node.keeper.writers_left(container)

    monkeypatch.setattr(container_start, "end_task", ended)
    await asyncio.wait_for(node.containers.start(container), 5)
    assert node.containers.get(container).running


@BY_PROCESS
async def test_a_deletion_that_a_kill_cut_off_is_finished(node: DoubleNode, restarted: Restarted):
    """containerd lists no task then, and keeps its shim until somebody deletes the task again."""
    pod, container = await node.running()
    node.containerd.process(container).exit(7)
    await until(lambda: node.containers.get(container).status.phase is Phase.EXITED)
    await node.settled()
    namespace = node.containerd.state.namespace("k8s.io")
    namespace.empty_shims.add(container)
    node.containerd.process(pod).exit(137)
    node.containerd.break_off_delete(pod)
    second = await restarted()
    await second.settled()
    assert not second.containerd.leftovers().shims
    await second.sandboxes.remove(pod)


async def test_a_task_that_containerd_has_lost_is_deleted_all_the_same(node: DoubleNode):
    pod, container = await node.running()
    by_process = node.sandboxes.get(pod).record.pins is None
    for lost in (container, pod) if by_process else (container,):
        node.containerd.break_off_delete(lost)
    await node.containerd.stop()
    await node.containerd.start()
    await until(lambda: node.containers.get(container).status.phase is Phase.EXITED)
    await until(lambda: node.sandboxes.get(pod).ready is not by_process)
    await node.settled()
    assert not node.containerd.leftovers().shims
    await node.sandboxes.remove(pod)


async def test_a_bundle_that_is_still_being_removed_is_waited_for(node: DoubleNode):
    """containerd cleans up after a Tasks.Create whose caller was killed, and takes a moment for it."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    in_the_way = f"failed to start shim: mkdir /run/containerd/k8s.io/{container}: file exists: unknown"
    node.containerd.fail("Tasks.Create", grpc.StatusCode.UNKNOWN, in_the_way, times=2)
    await node.containers.start(container)
    assert node.containers.get(container).running


async def test_an_exit_without_a_process_is_not_believed(node: DoubleNode):
    """containerd tells of the shim of an earlier attempt, which it has given up: no pid, and 255 for a code."""
    _, container = await node.running()
    told = event_types_pb2.TaskExit(container_id=container, id=container, exit_status=255)
    node.containerd.calls.clear()
    node.containerd.exchange.publish("k8s.io", "/tasks/exit", told)
    await until(lambda: "Tasks.Get" in node.containerd.methods())
    await node.settled()
    assert node.containers.get(container).running


async def test_an_exit_without_a_process_is_believed_where_the_task_is_gone(node: DoubleNode):
    pod, container = await node.running()
    node.containerd.break_off_delete(container)
    told = event_types_pb2.TaskExit(container_id=container, id=container, exit_status=255)
    node.containerd.exchange.publish("k8s.io", "/tasks/exit", told)
    await until(lambda: node.containers.get(container).status.phase is Phase.EXITED)
    assert node.containers.get(container).status.exit_code == 255
    await node.sandboxes.remove(pod)


@BY_PROCESS
async def test_a_shim_that_hangs_does_not_hold_up_the_others(
    node: DoubleNode, restarted: Restarted, monkeypatch
):
    """containerd asks one shim after the other for a list, and waits for each."""
    monkeypatch.setattr(sandbox_tasks, "LIST_SECONDS", 0.1)
    monkeypatch.setattr(sandbox_tasks, "ANSWER_SECONDS", 0.5)
    pod, container = await node.running()
    node.containerd.process(pod).status = process_pb2.UNKNOWN
    listing = node.containerd.hang("Tasks.List")
    second = await restarted()
    assert second.containers.get(container).status.pid == node.containerd.process(container).pid
    assert second.sandboxes.get(pod).ready, "until its shim says otherwise"
    listing.release()
    node.containerd.process(pod).status = process_pb2.RUNNING
    await second.settled()


@BY_MOUNTS
async def test_a_pod_whose_namespace_loses_its_pin_is_not_ready(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    pod, container = await node.running()
    unmount(node.pods.engine.paths.ipc_namespace(pod))
    await node.observer._check_pins()
    assert node.sandboxes.get(pod).state == criv1.SANDBOX_NOTREADY
    assert node.containers.get(container).running, "that is for the kubelet to stop"


@BY_MOUNTS
async def test_a_lost_pin_is_found_at_the_start_and_the_address_kept_for_those_in_it(
    node: DoubleNode, restarted: Restarted
):
    pod, _ = await node.running()
    unmount(node.pods.engine.paths.network_namespace(pod))
    second = await restarted()
    await second.settled()
    assert second.sandboxes.get(pod).state == criv1.SANDBOX_NOTREADY
    assert second.network.attached, "its container may still use the address"
    await second.sandboxes.remove(pod)
    assert not second.network.attached


@BY_MOUNTS
async def test_a_task_of_a_hand_back_that_was_cut_off_is_ended(node: DoubleNode, restarted: Restarted):
    pod, container = await node.running()
    await node.client.tasks.create(pod, mounts=[])
    await node.client.tasks.start(pod)
    second = await restarted()
    await second.settled()
    assert second.sandboxes.get(pod).ready
    assert second.containers.get(container).running
    assert pod not in second.containerd.leftovers().tasks
    await second.sandboxes.remove(pod)


@pytest.mark.parametrize("mode", list(SandboxMode), indirect=True)
async def test_both_forms_live_side_by_side(node: DoubleNode, restarted: Restarted):
    """Whatever the mode is now: a sandbox stays what its record says."""
    shared = node.pod_config("shared")
    shared.linux.security_context.namespace_options.pid = criv1.POD
    own = node.pod_config("own")
    own.linux.security_context.namespace_options.pid = criv1.CONTAINER
    first, second = [await node.sandboxes.run(config, "") for config in (shared, own)]
    other = SandboxMode.AUTO if node.mode is SandboxMode.PAUSE else SandboxMode.PAUSE
    forms = [node.sandboxes.get(each).record.pins is None for each in (first, second)]
    assert forms == [True, node.mode is SandboxMode.PAUSE]
    restarted.mode = other
    later = await restarted()
    for identifier, by_process in zip((first, second), forms, strict=True):
        sandbox = later.sandboxes.get(identifier)
        assert (sandbox.ready, sandbox.record.pins is None, bool(sandbox.pid)) == (
            True,
            by_process,
            by_process,
        )
        await later.sandboxes.remove(identifier)
    await later.settled()
    later.assert_nothing_left()
