"""Measurements of pods and containers: one at a time, and many at once."""

from __future__ import annotations

import asyncio

from api.wire import criv1
from e2e.bench import operation as op
from e2e.bench.contender import UNMASKED, UNTIL_STOPPED, Contender
from e2e.harness.cri import container_config

STATUS_CALLS = 50
EXEC_CALLS = 3
GRACE_SECONDS = 10
SETTLING_SECONDS = 0.2
"""Between stop and remove: the kubelet, too, removes later than it stops."""
PARALLEL = 10


async def one_pod(contender: Contender) -> None:
    """The life of a pod with one container, step by step."""
    async with contender.timed(op.TO_RUNNING):
        async with contender.timed(op.RUN_POD):
            pod = await contender.pod()
        async with contender.timed(op.CREATE_AND_START):
            async with contender.timed(op.CREATE):
                container = await pod.create(command=UNTIL_STOPPED)
            async with contender.timed(op.START):
                await container.start()
    async with contender.timed(op.SECOND_CONTAINER):
        await pod.run("second", command=UNTIL_STOPPED)
    for _ in range(EXEC_CALLS):
        async with contender.timed(op.EXEC_SYNC):
            await container.execute("true")
    for _ in range(STATUS_CALLS):
        async with contender.timed(op.CONTAINER_STATUS):
            await container.status()
    async with contender.timed(op.STOP_CONTAINER):
        await container.stop(GRACE_SECONDS)
    await asyncio.sleep(SETTLING_SECONDS)
    async with contender.timed(op.REMOVE_CONTAINER):
        await container.remove()
    async with contender.timed(op.STOP_POD):
        await pod.stop()
    await asyncio.sleep(SETTLING_SECONDS)
    async with contender.timed(op.REMOVE_POD):
        await pod.remove()
    contender.workloads.made.remove(pod)


async def whole_pod(contender: Contender) -> None:
    """The same life in one go, so that work which a server puts off counts as well."""
    async with contender.timed(op.WHOLE_POD):
        pod = await contender.pod()
        container = await pod.run(command=UNTIL_STOPPED)
        async with contender.timed(op.STOP_AND_REMOVE):
            await container.stop(GRACE_SECONDS)
            await container.remove()
            await pod.stop()
            await pod.remove()
    contender.workloads.made.remove(pod)


async def unmasked_pod(contender: Contender) -> None:
    """A pod on a network without ipMasq: more of the time is the server's own, less of it iptables'."""
    async with contender.timed(op.TO_RUNNING_UNMASKED):
        async with contender.timed(op.RUN_UNMASKED):
            pod = await contender.pod(handler=UNMASKED)
        container = await pod.run(command=UNTIL_STOPPED)
    async with contender.timed(op.STOP_AND_REMOVE_UNMASKED):
        await container.stop(GRACE_SECONDS)
        await container.remove()
        async with contender.timed(op.STOP_UNMASKED):
            await pod.stop()
        await pod.remove()
    contender.workloads.made.remove(pod)


async def parallel_pods(contender: Contender, pods: int) -> None:
    """Pods with a running container in each, ten at a time, on either network."""
    async with contender.timed(op.PODS_AT_ONCE):
        await run_pods(contender, pods)
    await remove_pods(contender)
    async with contender.timed(op.PODS_AT_ONCE_UNMASKED):
        await run_pods(contender, pods, UNMASKED)
    await remove_pods(contender)


async def run_pods(contender: Contender, pods: int, handler: str = "") -> None:
    """So many pods with one running container in each, which stay."""
    gate = asyncio.Semaphore(PARALLEL)

    async def one() -> None:
        async with gate:
            await (await contender.pod(handler=handler)).run(command=UNTIL_STOPPED)

    await asyncio.gather(*(one() for _ in range(pods)))


async def remove_pods(contender: Contender) -> None:
    """Remove all pods, several at once."""
    gate = asyncio.Semaphore(PARALLEL)

    async def one(pod_id: str) -> None:
        async with gate:
            await contender.runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id=pod_id))
            await contender.runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=pod_id))

    await asyncio.gather(*(one(pod.id) for pod in contender.workloads.made))
    contender.workloads.made.clear()


async def fill(contender: Contender, objects: int) -> None:
    """So many sandboxes, all but one of them stopped, and as many containers that were never started."""
    gate = asyncio.Semaphore(PARALLEL)
    pod = await contender.pod(host_network=True)

    async def sandbox() -> None:
        async with gate:
            await (await contender.pod(host_network=True)).stop()

    async def container() -> None:
        async with gate:
            await pod.create_as(container_config(contender.unique("main"), pod.image, command=UNTIL_STOPPED))

    await asyncio.gather(*(sandbox() for _ in range(objects - 1)))
    await asyncio.gather(*(container() for _ in range(objects)))


async def lists(contender: Contender, calls: int, objects: int) -> None:
    """List everything there is, which is so many sandboxes and as many containers."""
    for _ in range(calls):
        async with contender.timed(op.LIST_CONTAINERS):
            listed = await contender.runtime.ListContainers(criv1.ListContainersRequest())
        async with contender.timed(op.LIST_PODS):
            pods = await contender.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())
        found = (len(listed.containers), len(pods.items))
        if found != (objects, objects):
            raise RuntimeError(f"{contender.name} lists {found[0]} containers and {found[1]} sandboxes")
