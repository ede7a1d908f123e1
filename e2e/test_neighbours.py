"""Others on the same containerd and host: nothing of theirs changes, whatever happens to the server's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from api.wire import criv1
from e2e.harness.commands import cri_shim
from e2e.harness.eventually import eventually
from e2e.harness.leftovers import collect_garbage
from e2e.harness.neighbours import attachment, namespace_user

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

DOCKERD, CTR = "moby", "default"


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventful(node: Node, workloads: Workloads) -> None:
    """Pods come and go, with the server killed between, containerd restarted, and everybody's garbage collected."""
    mapping = criv1.PortMapping(protocol=criv1.TCP, container_port=8080, host_port=free_port())
    config = workloads.config("mapped")
    config.port_mappings.append(mapping)
    pod = await workloads.pod_as(config)
    container = await pod.sleeper()
    await node.server.kill()
    await node.containerd.stop()
    await node.containerd.start()
    await node.server.start()
    assert await container.output_of("echo alive") == "alive"
    await workloads.remove()
    swept = await cri_shim(node, "gc", "--json")
    assert swept.exit_code == 0, swept
    await collect_garbage(node.containerd.address)


@pytest.mark.cri_shim_only
async def test_containers_of_dockerd_and_ctr_go_on(node: Node, workloads: Workloads) -> None:
    async with contextlib.AsyncExitStack() as stack:
        users = [await stack.enter_async_context(namespace_user(node, name)) for name in (DOCKERD, CTR)]
        before = [await user.holdings() for user in users]
        assert all("RUNNING" in held["tasks"] for held in before)
        await eventful(node, workloads)
        assert [await user.holdings() for user in users] == before


async def test_they_are_not_listed(node: Node, workloads: Workloads) -> None:
    async with namespace_user(node, DOCKERD):
        pod = await workloads.pod()
        container = await pod.sleeper()
        pods = (await node.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
        containers = (await node.cri.runtime.ListContainers(criv1.ListContainersRequest())).containers
        stats = (await node.cri.runtime.ListContainerStats(criv1.ListContainerStatsRequest())).stats
        images = (await node.cri.image.ListImages(criv1.ListImagesRequest())).images
    assert [each.id for each in pods] == [pod.id]
    assert {each.id for each in containers} == {container.id}
    assert {each.attributes.id for each in stats} <= {container.id}
    assert not [name for image in images for name in image.repo_tags if "neighbour" in name]


@pytest.mark.cri_shim_only
async def test_their_deaths_are_none_of_its_business(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod()
    own = await pod.sleeper()
    stream = node.cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
    heard: list[str] = []

    async def listen() -> None:
        async for event in stream:
            heard.append(event.container_id)  # noqa: PERF401 - each is looked at while others come

    async with asyncio.TaskGroup() as group:
        listener = group.create_task(listen())
        async with namespace_user(node, CTR) as user:
            await user.ctr("tasks", "kill", "--signal", "SIGKILL", f"{CTR}-running")

            async def ended() -> str:
                return await user.ctr("tasks", "ls")

            await eventually(ended, lambda listed: "STOPPED" in listed, "the neighbour's end")
        await own.stop()

        async def told() -> list[str]:
            return heard

        await eventually(told, lambda events: own.id in events, "the event of its own container")
        listener.cancel()
    assert not [each for each in heard if each.startswith(CTR)]


@pytest.mark.cri_shim_only
async def test_another_user_of_the_pods_network_keeps_address_and_port(
    node: Node, workloads: Workloads
) -> None:
    async with attachment(node, free_port()) as other:
        before = await other.traces(node)
        assert all(before.values()), before
        await eventful(node, workloads)
        assert await other.traces(node) == before
