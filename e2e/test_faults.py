"""containerd and shims that hang or die: what is told, what goes on, and that nothing stays."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from api.containerd import Client
from api.wire import criv1
from cri.linux.process import parent
from e2e.harness.eventually import eventually
from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Workloads

pytestmark = [pytest.mark.cri_shim_only, pytest.mark.timeout(300)]

NOTICED_SECONDS = patiently(60)
"""A containerd that hangs is noticed by asking it, which is done every few seconds and waited for as long."""
SHORT_SECONDS = 3.0


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def shim_of(node: Node, container: Container) -> int:
    """The process that the container's first one is a child of."""
    async with Client(node.containerd.address) as client:
        shim = parent((await client.tasks.get(container.id)).pid)
    assert shim is not None
    return shim


async def runtime_condition(cri: Cri) -> criv1.RuntimeCondition:
    status = (await cri.runtime.Status(criv1.StatusRequest())).status
    return next(each for each in status.conditions if each.type == "RuntimeReady")


@contextlib.asynccontextmanager
async def ready_again(cri: Cri) -> AsyncIterator[None]:
    """Whatever happens inside, the node is as it was after."""
    try:
        yield
    finally:
        await eventually(
            lambda: runtime_condition(cri), lambda told: told.status, "RuntimeReady", NOTICED_SECONDS
        )


async def test_a_containerd_that_hangs_is_told_and_overcome(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod("before")
    container = await pod.sleeper()
    config = workloads.config("meanwhile")
    assert node.containerd.pid is not None
    async with ready_again(node.cri):
        with stopped(node.containerd.pid):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await node.cri.runtime.RunPodSandbox(
                    criv1.RunPodSandboxRequest(config=config), timeout=SHORT_SECONDS
                )
            assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            told = await eventually(
                lambda: runtime_condition(node.cri),
                lambda condition: not condition.status,
                "RuntimeReady false",
                NOTICED_SECONDS,
            )
            assert "containerd" in told.message, told
            assert (await container.status()).state == criv1.CONTAINER_RUNNING, "lists and statuses go on"
    assert await container.output_of("echo alive") == "alive"
    retried = await workloads.pod_as(config)
    assert (await retried.status()).state == criv1.SANDBOX_READY


async def test_a_shim_that_hangs_holds_up_its_own_pod_only(node: Node, workloads: Workloads) -> None:
    hung, other = await workloads.pod("hung"), await workloads.pod("other")
    stuck, free = await hung.sleeper(), await other.sleeper()
    with stopped(await shim_of(node, stuck)):
        await node.server.kill()
        await node.server.start()
        assert (await stuck.status()).state == criv1.CONTAINER_RUNNING, "it is not taken for dead"
        assert await free.output_of("echo alive") == "alive"
        await free.stop(grace_seconds=5)
        await free.remove()
        stop = criv1.StopContainerRequest(container_id=stuck.id, timeout=1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await node.cri.runtime.StopContainer(stop, timeout=SHORT_SECONDS)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await stuck.stop(grace_seconds=10)
    assert (await stuck.status()).state == criv1.CONTAINER_EXITED


async def test_a_shim_that_is_killed_takes_its_containers_along(node: Node, workloads: Workloads) -> None:
    hit, other = await workloads.pod("hit"), await workloads.pod("other")
    lost, spared = await hit.sleeper(), await other.sleeper()
    os.kill(await shim_of(node, lost), signal.SIGKILL)
    status = await lost.exited()
    assert status.exit_code != 0, "nobody may think that it went well"
    assert status.finished_at >= status.started_at
    assert await spared.output_of("echo alive") == "alive"
    await workloads.remove([hit])
    assert await (await workloads.pod("after")).address()
