"""A node as full as it gets: memory as pods come, idling, then lists and stats over 500 containers in 150 pods."""

from __future__ import annotations

import asyncio

from api.wire import criv1
from e2e.bench import operation as op
from e2e.bench.contender import UNTIL_STOPPED, Contender
from e2e.bench.pods import PARALLEL, run_pods
from e2e.bench.stats import PAUSE_SECONDS


async def grow(contender: Contender, pods: int) -> None:
    """Run the pods, and look at the memory before and after."""
    _memory(contender, op.EMPTY_MEMORY)
    await run_pods(contender, pods)
    _memory(contender, op.MEMORY)


async def idle(contender: Contender, seconds: float) -> None:
    """The processor time of a server that nobody asks anything, with everything still running."""
    before = contender.processor_seconds()
    await asyncio.sleep(seconds)
    spent = contender.processor_seconds() - before
    contender.measurements.add(op.IDLE, contender.name, spent / seconds * 1000)


async def add_containers(contender: Contender, containers: int) -> None:
    """Bring the number of running containers up to `containers`, spread over the pods."""
    pods = list(contender.workloads.made)
    gate = asyncio.Semaphore(PARALLEL)

    async def one(number: int) -> None:
        async with gate:
            await pods[number % len(pods)].run(f"more-{number}", command=UNTIL_STOPPED)

    async with asyncio.TaskGroup() as group:
        for number in range(containers - len(pods)):
            group.create_task(one(number))


async def lists(contender: Contender, calls: int) -> None:
    """What a relist and a look at the usage of all cost."""
    runtime = contender.runtime
    for _ in range(calls):
        async with contender.timed(op.fleet("ListContainers")):
            await runtime.ListContainers(criv1.ListContainersRequest())
        async with contender.timed(op.fleet("ListPodSandbox")):
            await runtime.ListPodSandbox(criv1.ListPodSandboxRequest())
        async with contender.timed(op.fleet("ListContainerStats")):
            await runtime.ListContainerStats(criv1.ListContainerStatsRequest())
        await asyncio.sleep(PAUSE_SECONDS)
        async with contender.timed(op.fleet("ListPodSandboxStats")):
            await runtime.ListPodSandboxStats(criv1.ListPodSandboxStatsRequest())
        await asyncio.sleep(PAUSE_SECONDS)


def _memory(contender: Contender, operation: op.Operation) -> None:
    server = contender.resident_mebibytes([contender.node.server.pid])
    contender.measurements.add(operation, contender.name, server)
    if (helpers := contender.helpers()) and operation is op.MEMORY:
        contender.measurements.add(op.KEEPER_MEMORY, contender.name, contender.resident_mebibytes(helpers))
