"""A full node comes back: how much work that is, and who waits for what."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import pytest

from api.wire.containerd import containers_pb2
from cri.concurrency.supervision import Supervisor
from cri.state.container_status import Phase
from tests.double.containerd import until
from tests.node import DoubleNode, World, started

PODS, CONTAINERS_OF_EACH = 125, 4
RECOVERY_SECONDS = 3.0
FOR_EACH = ("Tasks.Delete", "Containers.Update")
"""What is asked of containerd for single objects, once the server serves."""


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    async with Supervisor() as running:
        yield running


async def restarted(node: DoubleNode, supervisor: Supervisor) -> DoubleNode:
    """A second server on the same world; the first one is not used any more."""
    paths = node.pods.engine.paths
    world = World(node.containerd, paths.root.parent, node.keeper, node.network)
    return await started(world, node.client, supervisor)


async def test_five_hundred_containers_are_known_at_once(node: DoubleNode, supervisor: Supervisor):
    """Measured in processor time, the double's included: the clock on the wall is also that of the other tests."""
    pod, container = await node.running()
    fill(node, pod, container)
    node.containerd.calls.clear()
    began = time.process_time()
    second = await restarted(node, supervisor)
    spent = time.process_time() - began
    assert len(second.node.sandboxes) == PODS + 1
    assert [each.status.phase for each in second.node.containers].count(Phase.RUNNING) == 1
    assert len(second.node.containers) == PODS * CONTAINERS_OF_EACH + 1
    assert not second.node.quarantined
    assert spent < RECOVERY_SECONDS, f"{spent:.1f} s of processor time"
    await second.settled()
    await second.sandboxes.remove(pod)


async def test_knowing_a_full_node_takes_a_handful_of_calls(node: DoubleNode, supervisor: Supervisor):
    pod, container = await node.running()
    fill(node, pod, container)
    node.containerd.calls.clear()
    held = [node.containerd.hang(method) for method in FOR_EACH]
    second = await restarted(node, supervisor)
    calls = Counter(node.containerd.methods(without=FOR_EACH))
    assert max(calls.values()) <= 2, calls
    node.containerd.heal()
    for each in held:
        each.release()
    await second.settled()
    await second.sandboxes.remove(pod)


async def test_an_rpc_waits_for_its_own_object_only(node: DoubleNode, supervisor: Supervisor):
    """While the exit of one container cannot be written, everything else goes on."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    stuck, other = [
        await node.containers.create(pod, node.container_config(name)) for name in ("stuck", "other")
    ]
    for container in (stuck, other):
        await node.containers.start(container)
    await node.supervisor.close()
    node.containerd.process(stuck).exit(7)
    writing = node.containerd.hang("Containers.Update", times=1)
    second = await restarted(node, supervisor)
    await until(lambda: "Containers.Update" in node.containerd.methods())
    removal = supervisor.start("remove", second.containers.remove(stuck))
    async with asyncio.timeout(10):
        assert second.containers.get(stuck).status.exit_code == 7, "the index knows"
        assert (await second.containers.exec_sync(other, ["echo", "hello"], 5)).stdout == b"hello\n"
        await second.containers.stop(other, 0)
        await second.containers.remove(other)
    assert not removal.done(), "its own object is being settled"
    writing.release()
    await removal
    await second.sandboxes.remove(pod)


def fill(node: DoubleNode, pod: str, container: str) -> None:
    """Copies of a pod and its container under names of their own, all of which have ended."""
    held = node.containerd.state.namespace("k8s.io")

    def copy(original: str, names: Mapping[str, str]) -> None:
        record = containers_pb2.Container()
        record.CopyFrom(held.containers[original])
        record.id = names[original]
        for extension in record.extensions.values():
            for old, new in names.items():
                extension.value = extension.value.replace(old.encode(), new.encode())
        held.containers[record.id] = record
        if record.snapshot_key:
            record.snapshot_key = record.id
            held.snapshots["overlayfs"][record.id] = held.snapshots["overlayfs"][original]

    for _ in range(PODS):
        names = {pod: secrets.token_hex(32), "uid-web": secrets.token_hex(8)}
        copy(pod, names)
        for number in range(CONTAINERS_OF_EACH):
            copy(container, {**names, container: secrets.token_hex(32), "app_": f"app{number}_"})
