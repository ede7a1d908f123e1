"""Create, start, stop, remove on the containerd double: steps, budgets, roll-back, ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from api.containerd.errors import ContainerdError
from api.wire import criv1
from api.wire.containerd import process_pb2
from cri.concurrency.undo import watch_leftovers
from cri.container import exit as container_exit
from cri.container import remove as container_remove
from cri.container import start as container_start
from cri.container import stop as container_stop
from cri.container import task_deletion
from cri.container.exec_fifos import abandoned_execs
from cri.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from cri.oci.cgroups import container_cgroup
from cri.sandbox.janitor.values import Kind
from cri.state.container_status import Phase
from tests.double.containerd import until
from tests.double.scripts import STUBBORN
from tests.node import IMAGE, DoubleNode


async def test_a_whole_life_leaves_nothing(node: DoubleNode):
    pod, container = await node.running()
    assert node.containers.get(container).status.phase is Phase.RUNNING
    await node.containers.stop(container, 10)
    status = node.containers.get(container).status
    assert (status.phase, status.exit_code, status.reason) == (Phase.EXITED, 128 + signal.SIGTERM, "Error")
    await node.containers.remove(container)
    await node.sandboxes.remove(pod)
    await node.settled()
    node.assert_nothing_left()


async def test_call_budgets(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    calls = node.containerd.calls
    calls.clear()
    container = await node.containers.create(pod, node.container_config())
    assert node.containerd.methods() == ["Containers.Create", "Snapshots.Prepare"]
    calls.clear()
    await node.containers.start(container)
    assert node.containerd.methods()[:2] == ["Snapshots.Mounts", "Tasks.Create"]
    assert sorted(node.containerd.methods()[2:]) == ["Containers.Update", "Tasks.Start"]
    calls.clear()
    await node.containers.stop(container, 10)
    await node.containers.remove(container)
    await node.settled()
    assert sorted(node.containerd.methods()) == [
        "Containers.Delete",
        "Containers.Update",
        "Snapshots.Remove",
        "Tasks.Delete",
        "Tasks.Kill",
    ]


async def test_lists_and_statuses_ask_containerd_nothing(node: DoubleNode):
    await node.running()
    node.containerd.calls.clear()
    node.containers.matching(criv1.ContainerFilter())
    node.sandboxes.matching(criv1.PodSandboxFilter())
    assert node.containerd.methods() == []


@pytest.mark.parametrize("method", ["Containers.Create", "Snapshots.Prepare"])
async def test_a_failed_creation_is_undone(node: DoubleNode, method: str):
    pod = await node.sandboxes.run(node.pod_config(), "")
    node.containerd.fail(method, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Exception, match=method.split(".")[1]):
        await node.containers.create(pod, node.container_config())
    assert node.containerd.leftovers().containers == (pod,)
    container = await node.containers.create(pod, node.container_config())
    await node.containers.remove(container)


async def test_an_answer_that_was_lost_is_undone_too(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    node.containerd.lose_answer("Snapshots.Prepare", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Exception, match="Prepare"):
        await node.containers.create(pod, node.container_config())
    left = node.containerd.leftovers()
    assert left.containers == (pod,)
    assert [key for key in left.snapshots if "sha256:" not in key] == [f"overlayfs/{pod}"]


async def test_a_retry_joins_the_creation_under_way(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    hang = node.containerd.hang("Snapshots.Prepare")
    config = node.container_config()
    first = asyncio.get_running_loop().create_task(node.containers.create(pod, config))
    await hang.reached.wait()
    first.cancel()
    await asyncio.wait({first})
    retry = asyncio.get_running_loop().create_task(node.containers.create(pod, config))
    await asyncio.sleep(0)
    hang.released.set()
    container = await retry
    assert [found.id for found in node.node.containers] == [container]


async def test_a_name_that_was_received_is_taken(node: DoubleNode):
    pod, container = await node.running()
    with pytest.raises(AlreadyExists, match=container):
        await node.containers.create(pod, node.container_config())
    await node.containers.remove(container)
    await node.containers.create(pod, node.container_config())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda config: config.metadata.Clear(), InvalidArgument, "config.metadata.name"),
        (lambda config: config.image.Clear(), InvalidArgument, "config.image.image"),
        (lambda config: setattr(config.image, "image", "no/such:image"), NotFound, "no/such:image"),
        (lambda config: setattr(config, "log_path", "../../etc/passwd"), InvalidArgument, "log_path"),
    ],
)
async def test_bad_requests_are_named_and_leave_nothing(node: DoubleNode, change, error, words):
    pod = await node.sandboxes.run(node.pod_config(), "")
    config = node.container_config()
    change(config)
    with pytest.raises(error, match=words):
        await node.containers.create(pod, config)
    assert node.containerd.leftovers().containers == (pod,)
    assert len(node.node.containers) == 0


async def test_no_container_in_a_stopped_pod(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    await node.sandboxes.stop(pod)
    with pytest.raises(FailedPrecondition, match="not ready"):
        await node.containers.create(pod, node.container_config())


@pytest.mark.parametrize("method", ["Snapshots.Mounts", "Tasks.Create", "Tasks.Start"])
async def test_a_failed_start_ends_in_exited(node: DoubleNode, method: str):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.fail(method, grpc.StatusCode.UNKNOWN, "no such program")
    with pytest.raises(Exception, match="no such program"):
        await node.containers.start(container)
    status = node.containers.get(container).status
    assert (status.phase, status.exit_code, status.reason) == (Phase.EXITED, 128, "StartError")
    assert "no such program" in status.message
    assert container not in node.containerd.leftovers().tasks
    with pytest.raises(FailedPrecondition, match="CONTAINER_EXITED"):
        await node.containers.start(container)
    await node.containers.remove(container)


async def test_an_exit_is_recorded_before_the_task_goes(node: DoubleNode):
    _, container = await node.running()
    node.containerd.calls.clear()
    node.containerd.process(container).exit(3)
    await node.containers.get(container).exited.wait()
    await node.settled()
    methods = node.containerd.methods()
    assert methods.index("Containers.Update") < methods.index("Tasks.Delete")
    assert node.containers.get(container).status.exit_code == 3


async def test_an_exit_is_recorded_although_containerd_refuses_at_first(node: DoubleNode):
    _, container = await node.running()
    node.containerd.fail("Containers.Update", grpc.StatusCode.UNAVAILABLE, times=1)
    node.containerd.process(container).exit(3)
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 10)
    assert node.containers.get(container).status.exit_code == 3


async def test_out_of_memory_is_told(node: DoubleNode):
    _, container = await node.running()
    node.containerd.out_of_memory(container)
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 10)
    status = node.containers.get(container).status
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)


async def test_grace_then_kill(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.script(container, STUBBORN)
    await node.containers.start(container)
    node.containerd.calls.clear()
    loop = asyncio.get_running_loop()
    slow = loop.create_task(node.containers.stop(container, 3600))
    await until(lambda: "Tasks.Kill" in node.containerd.methods())
    await node.containers.stop(container, 0)
    await slow
    signals = [call.request.signal for call in node.containerd.calls if call.method == "Tasks.Kill"]
    assert signals == [signal.SIGTERM, signal.SIGKILL], "the stop signal is sent once, then the kill"
    assert node.containers.get(container).status.exit_code == 137


async def test_a_caller_that_leaves_does_not_stop_the_stop(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.script(container, STUBBORN)
    await node.containers.start(container)
    caller = asyncio.get_running_loop().create_task(node.containers.stop(container, 0.05))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait({caller})
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 10)


async def test_the_images_stop_signal_is_used(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config(stop_signal=criv1.SIGUSR1))
    await node.containers.start(container)
    node.containerd.calls.clear()
    await node.containers.stop(container, 5)
    kills = [call.request.signal for call in node.containerd.calls if call.method == "Tasks.Kill"]
    assert kills == [signal.SIGUSR1]


async def test_stop_and_remove_are_idempotent(node: DoubleNode):
    _, container = await node.running()
    for _ in range(2):
        await node.containers.stop(container, 1)
    await asyncio.gather(node.containers.remove(container), node.containers.remove(container))
    await node.containers.remove(container)
    await node.containers.stop(container, 1)


async def test_remove_works_when_containerd_has_lost_the_container(node: DoubleNode):
    _, container = await node.running()
    node.containerd.process(container).exit(0)
    await node.containers.get(container).exited.wait()
    await node.settled()
    await node.client.containers.delete(container)
    await node.client.snapshots("overlayfs").remove(container)
    await node.containers.remove(container)


async def test_remove_does_not_wait_for_the_snapshot(node: DoubleNode):
    _, container = await node.running()
    await node.containers.stop(container, 1)
    hang = node.containerd.hang("Snapshots.Remove")
    await node.containers.remove(container)
    await hang.reached.wait()
    assert container not in node.containerd.leftovers().containers
    hang.released.set()
    await node.settled()
    assert f"overlayfs/{container}" not in node.containerd.leftovers().snapshots


async def test_a_snapshot_that_stays_is_the_janitors(node: DoubleNode):
    """As after a crash between the record and the snapshot."""
    _, container = await node.running()
    told: list[str] = []
    end = watch_leftovers(lambda _operation, step, _error: told.append(step))
    try:
        node.containerd.fail("Snapshots.Remove", grpc.StatusCode.UNKNOWN, "device busy")
        await node.containers.remove(container)
        await node.settled()
    finally:
        end()
    assert told == ["remove snapshot"]
    swept = await node.janitor.sweep()
    assert [each.kind for each in swept.removed] == [Kind.SNAPSHOT]


async def test_remove_takes_away_the_cgroup_that_a_killed_runc_left(
    node: DoubleNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen in a campaign: containerd was killed, its shim killed `runc create`, and the cgroup was in one tree only."""
    monkeypatch.setattr(
        "cri.linux.cgroup_places.directories_of",
        lambda cgroup: [tmp_path / tree / cgroup.strip("/") for tree in ("cpuset", "memory")],
    )
    pod, container = await node.running()
    parent = node.node.sandboxes.get(pod).config.linux.cgroup_parent
    default = node.pods.engine.oci.default_cgroup_parent
    left = [
        tmp_path / "cpuset" / container_cgroup(parent, each, default).strip("/") for each in (pod, container)
    ]
    for directory in left:
        directory.mkdir(parents=True)
    await node.containers.remove(container)
    assert [directory.is_dir() for directory in left] == [True, False]
    await node.sandboxes.remove(pod)
    assert [directory.is_dir() for directory in left] == [False, False]


async def test_exec_sync_gives_output_and_code(node: DoubleNode):
    _, container = await node.running()
    result = await node.containers.exec_sync(container, ["echo", "hello"], 5)
    assert (result.stdout, result.stderr, result.exit_code) == (b"hello\n", b"", 0)
    await node.settled()
    assert not node.containerd.leftovers().execs


async def test_exec_sync_answers_before_the_shim_has_let_go(node: DoubleNode):
    _, container = await node.running()
    hang = node.containerd.hang("Tasks.DeleteProcess")
    result = await node.containers.exec_sync(container, ["echo", "hello"], 5)
    assert result.stdout == b"hello\n"
    await hang.reached.wait()
    hang.released.set()
    await node.settled()
    assert not node.containerd.leftovers().execs
    assert not abandoned_execs(node.pods.engine.paths)


async def test_exec_sync_in_a_container_that_does_not_run(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    with pytest.raises(FailedPrecondition, match="CONTAINER_CREATED"):
        await node.containers.exec_sync(container, ["true"], 1)


async def test_exec_sync_in_a_container_that_has_just_ended(node: DoubleNode):
    """containerd knows of the end before its event is here, and calls it unknown."""
    _, container = await node.running()
    node.containerd.process(container).status = process_pb2.STOPPED
    with pytest.raises(FailedPrecondition, match="ended before the command"):
        await node.containers.exec_sync(container, ["true"], 1)
    node.containerd.process(container).status = process_pb2.RUNNING
    node.containerd.process(container).exit(0)


async def test_reopening_the_log_needs_a_running_container(node: DoubleNode):
    _, container = await node.running()
    await node.containers.reopen_log(container)
    assert node.keeper.reopened == [container]
    await node.containers.stop(container, 0)
    with pytest.raises(FailedPrecondition, match="cannot be reopened"):
        await node.containers.reopen_log(container)


async def test_exits_while_the_event_stream_was_down_are_seen(node: DoubleNode):
    _, container = await node.running()
    await node.containerd.stop()
    node.containerd.process(container).exit(7)
    await node.containerd.start()
    await asyncio.wait_for(node.containers.get(container).exited.wait(), 20)
    assert node.containers.get(container).status.exit_code == 7


async def test_images_that_came_while_the_event_stream_was_down_are_seen(node: DoubleNode):
    await node.containerd.stop()
    await until(lambda: not node.observer.connected.is_set())
    await node.containerd.start()
    node.observer.recovered.set()
    await node.client.images.create(replace(await node.client.images.get(IMAGE), name="example.com/late:1"))
    await node.observer.connected.wait()
    await until(lambda: node.pods.engine.images.find("example.com/late:1") is not None)


async def test_a_stop_that_containerd_refuses_is_told_and_can_be_repeated(node: DoubleNode):
    _, container = await node.running()
    node.containerd.fail("Tasks.Kill", grpc.StatusCode.UNAVAILABLE, "no shim", times=1)
    with pytest.raises(Exception, match="no shim"):
        await node.containers.stop(container, 10)
    await node.containers.stop(container, 10)
    assert node.containers.get(container).status.exit_code == 128 + signal.SIGTERM


async def test_a_kill_that_containerd_refuses_is_sent_again(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cri.container.stop.KILL_AGAIN_SECONDS", 0.01)
    _, container = await node.running()
    node.containerd.fail("Tasks.Kill", grpc.StatusCode.UNAVAILABLE, "no shim", times=2)
    await asyncio.wait_for(node.containers.stop(container, 0), 10)
    assert node.containers.get(container).status.exit_code == 137


async def test_the_log_is_held_open_until_a_failed_start_has_been_undone(node: DoubleNode):
    """A shim that is still making the process waits for a reader of its output, and with it the whole pod."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.lose_answer("Tasks.Create")
    deleting = node.containerd.hang("Tasks.Delete")
    start = node.supervisor.start("start", node.containers.start(container))
    await until(lambda: "Tasks.Delete" in node.containerd.methods())
    await asyncio.sleep(0.05)
    assert container in node.keeper.followed
    deleting.release()
    with contextlib.suppress(ContainerdError):
        await start
    outputs = node.pods.engine.paths.container_state(container) / "io"
    assert not outputs.exists(), "a shim that comes late finds no FIFO to wait at"
    await node.settled()
    assert container not in node.keeper.followed
    assert not node.containerd.leftovers().tasks[1:], "of the container nothing is left"
    await node.sandboxes.remove(pod)


async def test_a_start_that_failed_without_containerd_is_undone_when_it_is_back(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    for module, pause in (
        (container_exit, "FIRST_PAUSE_SECONDS"),
        (task_deletion, "FIRST_PAUSE_SECONDS"),
        (container_start, "SETTLE_AGAIN_SECONDS"),
    ):
        monkeypatch.setattr(module, pause, 0.001)
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.lose_answer("Tasks.Create")
    for method in ("Tasks.Kill", "Tasks.Delete", "Containers.Update"):
        node.containerd.fail(method, times=12)
    with pytest.raises(ContainerdError):
        await node.containers.start(container)
    await node.settled()
    assert container not in node.keeper.followed
    assert node.containerd.leftovers().tasks == (pod,)
    node.containerd.heal()
    await node.sandboxes.remove(pod)


async def test_removal_ends_a_process_that_was_taken_for_dead(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(container_remove, "TASK_DELETION_SECONDS", 0.05)
    pod, container = await node.running()
    held = node.containers.get(container)
    held.status = held.status.exited(0, 1, oom_killed=False)
    held.exited.set()
    await node.containers.remove(container)
    assert node.containerd.leftovers().tasks == (pod,)
    await node.sandboxes.remove(pod)


async def test_a_container_whose_task_cannot_be_deleted_is_not_removed(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    """Its record is what the next attempt finds it by."""
    monkeypatch.setattr(container_remove, "TASK_DELETION_SECONDS", 0.05)
    monkeypatch.setattr(task_deletion, "FIRST_PAUSE_SECONDS", 0.001)
    pod, container = await node.running()
    node.containerd.fail("Tasks.Delete", grpc.StatusCode.UNKNOWN, "device or resource busy", times=None)
    with pytest.raises(Unavailable, match="task"):
        await node.containers.remove(container)
    assert container in node.containerd.leftovers().containers
    node.containerd.heal()
    await node.containers.remove(container)
    assert node.containerd.leftovers().tasks == (pod,)
    await node.sandboxes.remove(pod)


async def test_a_process_that_outlives_sigkill_is_described(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    """One that waits for a dead disk cannot be killed; the caller is told which it is, and where it waits."""
    monkeypatch.setattr(container_stop, "KILL_WAIT_SECONDS", 0.2)
    stuck = await asyncio.create_subprocess_exec("sleep", "60")
    _, container = await node.running()
    held = node.containers.get(container)
    held.status = replace(held.status, pid=stuck.pid)
    killing = node.containerd.hang("Tasks.Kill")
    try:
        with pytest.raises(DeadlineExceeded) as told:
            await node.containers.stop(container, 0)
    finally:
        stuck.kill()
        await stuck.wait()
    assert f"process {stuck.pid} (sleep) is in state S, waiting in " in told.value.message
    assert "SIGKILL" in told.value.message
    held.status = replace(held.status, pid=node.containerd.process(container).pid)
    killing.release()
    node.containerd.heal()
    await node.containers.stop(container, 0)
