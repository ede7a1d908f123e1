"""A start does not meet the end of the shim of a pod that has no process of its own."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from cri.state.container_status import Phase
from tests.double.containerd import until
from tests.node import BY_MOUNTS, BY_PROCESS, DoubleNode

CLOSED = "ttrpc: closed: unknown"
SOCKET_GONE = (
    "failed to start shim: start failed: io.containerd.runc.v2: remove pre-existing socket: "
    "remove /run/containerd/s/99d1: no such file or directory: exit status 1: unknown"
)


async def ended(node: DoubleNode, pod: str, name: str) -> str:
    """A container that has run and ended, and whose task is being deleted."""
    container = await node.containers.create(pod, node.container_config(name))
    await node.containers.start(container)
    node.containerd.process(container).exit(0)
    await until(lambda: node.containers.get(container).status.phase is Phase.EXITED)
    return container


@BY_MOUNTS
async def test_the_next_start_waits_for_the_last_deletion(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    deletion = node.containerd.hang("Tasks.Delete")
    await ended(node, pod, "first")
    second = await node.containers.create(pod, node.container_config("second"))
    await until(lambda: "Tasks.Delete" in node.containerd.methods())
    node.containerd.calls.clear()
    start = asyncio.get_running_loop().create_task(node.containers.start(second))
    await asyncio.sleep(0.1)
    assert "Tasks.Create" not in node.containerd.methods(), "it would be given the shim that is about to end"
    deletion.release()
    await start
    assert node.containers.get(second).running


@BY_MOUNTS
async def test_a_start_beside_a_running_container_waits_for_nothing(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    keeps = await node.containers.create(pod, node.container_config("keeps the shim"))
    await node.containers.start(keeps)
    deletion = node.containerd.hang("Tasks.Delete")
    await ended(node, pod, "first")
    second = await node.containers.create(pod, node.container_config("second"))
    await node.containers.start(second)
    deletion.release()
    assert node.containers.get(second).running


@BY_MOUNTS
async def test_two_starts_do_not_bring_a_shim_each(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    containers = [await node.containers.create(pod, node.container_config(name)) for name in ("one", "two")]
    creation = node.containerd.hang("Tasks.Create", times=1)
    node.containerd.calls.clear()
    async with asyncio.TaskGroup() as group:
        for container in containers:
            group.create_task(node.containers.start(container))
        await creation.reached.wait()
        await asyncio.sleep(0.1)
        assert node.containerd.methods().count("Tasks.Create") == 1, (
            "the second would replace the first's shim"
        )
        creation.release()
    assert all(node.containers.get(each).running for each in containers)


@BY_MOUNTS
@pytest.mark.parametrize("answer", [CLOSED, SOCKET_GONE])
async def test_a_start_that_met_the_end_is_tried_again(node: DoubleNode, answer: str):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.fail("Tasks.Create", grpc.StatusCode.UNKNOWN, answer, times=2)
    await node.containers.start(container)
    assert node.containers.get(container).running


@BY_PROCESS
async def test_where_a_process_keeps_the_shim_its_end_is_a_failure(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.fail("Tasks.Create", grpc.StatusCode.UNKNOWN, CLOSED)
    with pytest.raises(Exception, match="ttrpc: closed"):
        await node.containers.start(container)
    assert node.containers.get(container).status.reason == "StartError"
    assert pod in node.containerd.leftovers().tasks
