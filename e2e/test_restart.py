"""The server ends in whatever way and comes back: pods, containers, logs and exit codes are all there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc.aio
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.commands import cri_shim
from e2e.harness.cri import runtime_ready
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined, log_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.005; done"


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def a_server_for_the_next_test(node: Node, nothing_left: None) -> AsyncIterator[None]:
    yield
    await node.server.start()


async def everything(cri: Cri) -> tuple[list[criv1.PodSandbox], list[criv1.Container]]:
    """All pods and containers in a fixed order."""
    pods = (await cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
    containers = (await cri.runtime.ListContainers(criv1.ListContainersRequest())).containers
    return sorted(pods, key=lambda pod: pod.id), sorted(containers, key=lambda container: container.id)


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_pods_and_containers_are_as_before(way: str, node: Node, workloads: Workloads) -> None:
    first, second = await workloads.pod("first", labels={"a": "b"}), await workloads.pod("second")
    running = await first.sleeper("running", annotations={"c": "d"})
    done = await first.run("done", command=["sh", "-c", "exit 4"])
    await done.exited()
    created = await first.create("created")
    await second.stop()
    before = await everything(node.cri)
    statuses = [await container.status() for container in (running, done, created)]
    pod_statuses = [await first.status(), await second.status()]
    await (node.server.stop() if way == "stop" else node.server.kill())
    await node.server.start()
    assert await everything(node.cri) == before
    assert [await container.status() for container in (running, done, created)] == statuses
    assert [await first.status(), await second.status()] == pod_statuses
    assert await running.output_of("echo alive") == "alive"
    await created.start()
    assert (await created.exited()).exit_code == 0


async def test_an_exit_while_the_server_is_away_is_seen(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.run(command=["sh", "-c", "sleep 0.5; exit 9"])
    await node.server.kill()
    await asyncio.sleep(1)
    await node.server.start()
    status = await container.exited()
    assert (status.exit_code, status.reason) == (9, "Error")
    assert 0.4 < (status.finished_at - status.started_at) / 1e9 < 5


async def test_containers_can_be_stopped_and_removed_after_a_restart(
    node: Node, workloads: Workloads
) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    await node.server.kill()
    await node.server.start()
    await container.stop(grace_seconds=10)
    assert (await container.status()).exit_code == 0
    await container.remove()
    again = await pod.sleeper()
    assert await again.output_of("echo works") == "works"


@pytest.mark.cri_shim_only
@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_no_line_is_lost_and_nobody_waits(way: str, node: Node, workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    await asyncio.sleep(0.3)
    await (node.server.stop() if way == "stop" else node.server.kill())
    during = container.log_file.stat().st_size
    await asyncio.sleep(1)
    assert container.log_file.stat().st_size > during, "output is recorded while the server is away"
    await node.server.start()
    await asyncio.sleep(0.3)
    await container.stop()
    numbers = [int(line) for line in joined(await container.settled_log(), "stdout")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.cri_shim_only
async def test_rotation_works_after_a_restart(node: Node, workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    await node.server.kill()
    await node.server.start()
    rotated = container.log_file.with_suffix(".rotated")
    container.log_file.rename(rotated)
    await node.cri.runtime.ReopenContainerLog(criv1.ReopenContainerLogRequest(container_id=container.id))
    await container.stop()
    await container.settled_log()
    parts = [joined(log_lines(file), "stdout") for file in (rotated, container.log_file)]
    numbers = [int(line) for part in parts for line in part]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_images_are_known_after_a_restart(node: Node) -> None:
    request = criv1.ListImagesRequest()
    before = sorted((await node.cri.image.ListImages(request)).images, key=lambda image: image.id)
    await node.server.kill()
    await node.server.start()
    after = sorted((await node.cri.image.ListImages(request)).images, key=lambda image: image.id)
    assert after == before


@pytest.mark.cri_shim_only
@pytest.mark.timeout(240)
async def test_a_crash_in_the_middle_of_creating_leaves_nothing(node: Node, workloads: Workloads) -> None:
    """Whatever instruction the crash hits: after recovery and the kubelet's retry there is one pod, and no more."""
    for delay in (0.0, 0.01, 0.03, 0.05, 0.08, 0.12):
        config = workloads.config("crash")
        request = criv1.RunPodSandboxRequest(config=config)
        call = node.cri.runtime.RunPodSandbox(request)
        await asyncio.sleep(delay)
        await node.server.kill()
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call
        await node.server.start()
        for listed in (await node.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items:
            await node.cri.runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id=listed.id))
            await node.cri.runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=listed.id))
        pod = await workloads.pod_as(config)
        await workloads.remove([pod])
    assert (await cri_shim(node, "gc")).exit_code == 0, "what a killed RunPodSandbox has left can be removed"


@pytest.mark.cri_shim_only
async def test_containerd_can_be_restarted_beside_the_server(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    await node.containerd.kill()
    await node.containerd.start()

    await eventually(lambda: runtime_ready(node.cri), bool, "RuntimeReady")
    assert await container.output_of("echo alive") == "alive"
    await container.stop(grace_seconds=10)
    assert (await container.status()).exit_code == 0
    assert await (await workloads.pod("new")).address()
