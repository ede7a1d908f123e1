"""Start, stop and delete with one to ten clients at once, each with pods of its own: what bucketbench looks at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from e2e.bench import operation as op
from e2e.bench.contender import UNTIL_STOPPED, Contender
from e2e.bench.pods import GRACE_SECONDS
from e2e.harness.workload import Container

THREADS = (1, 2, 4, 6, 8, 10)
START, STOP, DELETE = "start", "stop", "delete"


async def rates(contender: Contender, threads: int, pods: int) -> None:
    """`threads` clients start, then stop, then delete `pods` pods with one container each."""
    running: list[Container] = []

    async def start(_: int) -> None:
        pod = await contender.pod()
        running.append(await pod.run(command=UNTIL_STOPPED))

    async def stop(number: int) -> None:
        await running[number].stop(GRACE_SECONDS)
        await running[number].pod.stop()

    async def delete(number: int) -> None:
        await running[number].remove()
        await running[number].pod.remove()
        contender.workloads.made.remove(running[number].pod)

    for step, work in ((START, start), (STOP, stop), (DELETE, delete)):
        seconds = await _spread(threads, pods, work)
        contender.measurements.add(op.threads_rate(step, threads), contender.name, pods / seconds)


async def _spread(threads: int, pods: int, work: Callable[[int], Awaitable[None]]) -> float:
    """How long it takes so many clients to do the work for all pods."""
    left = iter(range(pods))

    async def client() -> None:
        for number in left:
            await work(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(threads):
            group.create_task(client())
    return time.perf_counter() - began
