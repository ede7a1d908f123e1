"""Doing it again and again: nothing is left behind, and nothing grows."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.cri import container_config
from e2e.harness.workload import Container

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

ROUNDS = 10


async def life(workloads: Workloads, name: str) -> None:
    """One pod with two containers, through all that the kubelet does with it."""
    pod = await workloads.pod(name)
    container, _ = await asyncio.gather(pod.sleeper("main"), pod.run("job", command=["echo", "done"]))
    assert (await container.execute("true")).exit_code == 0
    await container.stop(grace_seconds=5)
    await container.remove()
    await workloads.remove([pod])


def descriptors(process: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


async def test_the_main_life_cycle_many_times_leaves_nothing(node: Node, workloads: Workloads) -> None:
    """What is left on the node is checked by the fixture, as after each test; here also what the server holds."""
    await life(workloads, "first")
    before = descriptors(node.server.pid)
    for number in range(ROUNDS):
        await asyncio.gather(*(life(workloads, f"round-{number}-{beside}") for beside in range(3)))
    after = descriptors(node.server.pid)
    assert after <= before + 5, f"open files of the server grew from {before} to {after}"


@pytest.mark.cri_shim_only
async def test_a_client_that_leaves_at_any_moment_leaves_nothing(node: Node, workloads: Workloads) -> None:
    """The retry after a deadline gets a pod: a new one, or the one that the first attempt has made meanwhile."""
    for milliseconds in (1, 10, 20, 40, 60, 80, 120, 160):
        config = workloads.config(f"left-{milliseconds}")
        request = criv1.RunPodSandboxRequest(config=config)
        if not await in_time(node.cri.runtime.RunPodSandbox(request, timeout=milliseconds / 1000)):
            await workloads.remove([await workloads.pod_as(config)])
    await remove_all(workloads)


@pytest.mark.cri_shim_only
async def test_a_pod_that_nobody_comes_back_for_is_removed(node: Node, workloads: Workloads) -> None:
    """Nothing is done about it here: it must be gone before the fixture's patience ends."""
    for milliseconds in (5, 15):
        request = criv1.RunPodSandboxRequest(config=workloads.config(f"left-{milliseconds}"))
        assert not await in_time(node.cri.runtime.RunPodSandbox(request, timeout=milliseconds / 1000))


@pytest.mark.cri_shim_only
async def test_a_client_that_leaves_while_creating_and_starting(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod()
    for milliseconds in (1, 5, 10, 20, 40, 80):
        config = container_config(f"left-{milliseconds}", node.busybox, command=["true"])
        request = criv1.CreateContainerRequest(
            pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config
        )
        if await in_time(node.cri.runtime.CreateContainer(request, timeout=milliseconds / 1000)):
            continue
        created = (await node.cri.runtime.CreateContainer(request)).container_id
        start = criv1.StartContainerRequest(container_id=created)
        await in_time(node.cri.runtime.StartContainer(start, timeout=milliseconds / 1000))
        assert (await Container(node.cri, pod, created, config).status()).id == created


async def in_time(call: Awaitable[object]) -> bool:
    """Whether a call succeeded before its deadline; it may fail in no other way."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        return False
    return True


async def remove_all(workloads: Workloads) -> None:
    """Remove the pods that were made before their caller left."""
    runtime = workloads.cri.runtime
    for pod in (await runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items:
        await runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
