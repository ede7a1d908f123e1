"""New limits: spec, kernel and status, all of them or none."""

from __future__ import annotations

import json

import grpc
import pytest

from api.wire import criv1
from cri.errors import FailedPrecondition, InvalidArgument
from tests.node import DoubleNode

MIB = 1 << 20


def limits(**fields: int) -> criv1.LinuxContainerResources:
    return criv1.LinuxContainerResources(**fields)


async def stored_memory(node: DoubleNode, container: str) -> int:
    record = await node.client.containers.get(container)
    assert record.spec is not None
    return json.loads(record.spec.value)["linux"]["resources"].get("memory", {}).get("limit", 0)


def told_memory(node: DoubleNode, container: str) -> int:
    return node.containers.get(container).resources.linux.memory_limit_in_bytes


async def with_limit(node: DoubleNode) -> str:
    resources = limits(memory_limit_in_bytes=64 * MIB)
    _, container = await node.running(linux=criv1.LinuxContainerConfig(resources=resources))
    return container


async def test_a_running_container_takes_three_calls_and_one_for_the_old_spec(node: DoubleNode):
    container = await with_limit(node)
    node.containerd.calls.clear()
    await node.containers.update(container, limits(memory_limit_in_bytes=32 * MIB))
    assert node.containerd.methods() == [
        "Containers.Get",
        "Containers.Update",
        "Tasks.Update",
        "Containers.Update",
    ]
    assert await stored_memory(node, container) == told_memory(node, container) == 32 * MIB


async def test_a_created_container_has_no_kernel_to_ask(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.calls.clear()
    await node.containers.update(container, limits(memory_limit_in_bytes=32 * MIB))
    assert "Tasks.Update" not in node.containerd.methods()
    assert await stored_memory(node, container) == 32 * MIB


async def test_what_the_kernel_refuses_is_taken_back(node: DoubleNode):
    container = await with_limit(node)
    node.containerd.fail(
        "Tasks.Update", grpc.StatusCode.UNKNOWN, "memory.limit_in_bytes: device or resource busy"
    )
    with pytest.raises(FailedPrecondition, match="busy"):
        await node.containers.update(container, limits(memory_limit_in_bytes=1 * MIB))
    assert await stored_memory(node, container) == told_memory(node, container) == 64 * MIB
    await node.containers.update(container, limits(memory_limit_in_bytes=32 * MIB))
    assert told_memory(node, container) == 32 * MIB


async def test_a_record_that_cannot_be_written_leaves_the_kernel_alone(node: DoubleNode):
    container = await with_limit(node)
    node.containerd.calls.clear()
    node.containerd.fail("Containers.Update", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Exception, match="Update"):
        await node.containers.update(container, limits(memory_limit_in_bytes=32 * MIB))
    assert "Tasks.Update" not in node.containerd.methods()
    assert told_memory(node, container) == 64 * MIB


async def test_impossible_limits_ask_for_nothing(node: DoubleNode):
    container = await with_limit(node)
    node.containerd.calls.clear()
    with pytest.raises(InvalidArgument, match="cpu_shares"):
        await node.containers.update(container, limits(cpu_shares=1))
    assert node.containerd.methods() == ["Containers.Get"]


async def test_an_ended_container_keeps_its_limits(node: DoubleNode):
    container = await with_limit(node)
    await node.containers.stop(container, 10)
    with pytest.raises(FailedPrecondition, match="EXITED"):
        await node.containers.update(container, limits(memory_limit_in_bytes=32 * MIB))


async def test_pod_limits_are_kept_in_the_record(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    request = criv1.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=pod, resources=limits(memory_limit_in_bytes=32 * MIB), overhead=limits(cpu_shares=10)
    )
    await node.sandboxes.update_resources(request)
    await node.sandboxes.update_resources(
        criv1.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod, overhead=limits(cpu_shares=20))
    )
    linux = node.sandboxes.get(pod).config.linux
    assert (linux.resources.memory_limit_in_bytes, linux.overhead.cpu_shares) == (32 * MIB, 20)
    await node.sandboxes.stop(pod)
    with pytest.raises(FailedPrecondition, match="not ready"):
        await node.sandboxes.update_resources(request)
