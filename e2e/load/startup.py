"""A full node: bring it up, then end and start the server several times, and see when it answers."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.wire import criv1
from e2e.harness.workload import Pod, Workloads
from e2e.load.usage import processor_seconds

if TYPE_CHECKING:
    from e2e.harness.node import Node

AT_ONCE = 8
STARTS = 5
RUNS_SHARE = 2
"""One container in so many goes on running; the others have ended by the time of the first start."""
SLEEPER = ["sleep", "100000"]


@dataclass
class StartupFigures:
    """Seconds from the start of the program to its first answer, which has all pods and containers."""

    pods: int = 0
    containers: int = 0
    bring_up_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    median_seconds: float = 0.0
    processor_seconds: list[float] = field(default_factory=list)
    """User and system time of the server up to that answer: what a machine with nothing else to do would take."""


async def run_startup(node: Node, pods: int, containers: int) -> StartupFigures:
    """Pods, and so many containers spread over them."""
    workloads = Workloads(node.cri, node.directory.parent / "logs", node.busybox, node.cgroup_parent)
    figures = StartupFigures(pods=pods, containers=containers)
    began = time.monotonic()
    gate = asyncio.Semaphore(AT_ONCE)

    async def make(number: int) -> None:
        async with gate:
            pod = await workloads.pod(f"full-{number}")
            for each in range(number, containers, pods):
                await _container(pod, each)

    async with asyncio.TaskGroup() as group:
        for number in range(pods):
            group.create_task(make(number))
    figures.bring_up_seconds = round(time.monotonic() - began, 1)
    for _ in range(STARTS):
        await node.server.kill()
        started = time.monotonic()
        await node.server.start()
        listed = await node.cri.runtime.ListContainers(criv1.ListContainersRequest())
        sandboxes = await node.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())
        figures.seconds.append(round(time.monotonic() - started, 2))
        figures.processor_seconds.append(round(processor_seconds(node.server.pid), 2))
        assert (len(sandboxes.items), len(listed.containers)) == (pods, containers)
    figures.median_seconds = statistics.median(figures.seconds)
    await workloads.remove()
    return figures


async def _container(pod: Pod, number: int) -> None:
    command = SLEEPER if number % RUNS_SHARE == 0 else ["true"]
    await pod.run(f"c{number}", command=command)
