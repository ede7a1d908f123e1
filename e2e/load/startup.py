"""A full node: bring it up, then end and start the server several times, and see when it answers.

The same is done on the empty node first: what the difference is, recovery takes. This checkout's modules are compiled
before, as those of an installed server are: where PYTHONDONTWRITEBYTECODE is set, each start would do it anew.
"""

from __future__ import annotations

import asyncio
import compileall
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.wire import criv1
from e2e.harness.workload import Pod, Workloads
from e2e.load.usage import processor_seconds

if TYPE_CHECKING:
    from e2e.harness.node import Node

PROJECT = Path(__file__).parents[2]
AT_ONCE = 8
STARTS = 5
RUNS_SHARE = 2
"""One container in so many goes on running; the others have ended by the time of the first start."""
SLEEPER = ["sleep", "100000"]


@dataclass
class Starts:
    """Starts of the server on one node."""

    answered_seconds: list[float] = field(default_factory=list)
    """From the start of the program to its first answer; the socket opens when recovery is through."""
    listed_seconds: list[float] = field(default_factory=list)
    """Until all pods and containers have been listed."""
    processor_seconds: list[float] = field(default_factory=list)
    """User and system time of the server up to that list: what a machine with nothing else to do would take."""
    median_answered_seconds: float = 0.0
    median_listed_seconds: float = 0.0
    median_processor_seconds: float = 0.0


@dataclass
class StartupFigures:
    """What came of it, for the node without pods and with them."""

    pods: int = 0
    containers: int = 0
    bring_up_seconds: float = 0.0
    empty: dict[str, Any] = field(default_factory=dict)
    full: dict[str, Any] = field(default_factory=dict)


async def run_startup(node: Node, pods: int, containers: int) -> StartupFigures:
    """Pods, and so many containers spread over them."""
    workloads = Workloads(node.cri, node.directory.parent / "logs", node.busybox, node.cgroup_parent)
    figures = StartupFigures(pods=pods, containers=containers)
    for package in ("api", "cri"):
        await asyncio.to_thread(compileall.compile_dir, PROJECT / package, quiet=1)
    figures.empty = asdict(await _starts(node, 0, 0))
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
    figures.full = asdict(await _starts(node, pods, containers))
    await workloads.remove()
    return figures


async def _starts(node: Node, pods: int, containers: int) -> Starts:
    """Kill and start the server several times; each time it must know so many pods and containers at once."""
    starts = Starts()
    for _ in range(STARTS):
        await node.server.kill()
        started = time.monotonic()
        await node.server.start()
        starts.answered_seconds.append(round(time.monotonic() - started, 2))
        listed = await node.cri.runtime.ListContainers(criv1.ListContainersRequest())
        sandboxes = await node.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())
        starts.listed_seconds.append(round(time.monotonic() - started, 2))
        starts.processor_seconds.append(round(processor_seconds(node.server.pid), 2))
        assert (len(sandboxes.items), len(listed.containers)) == (pods, containers)
    starts.median_answered_seconds = statistics.median(starts.answered_seconds)
    starts.median_listed_seconds = statistics.median(starts.listed_seconds)
    starts.median_processor_seconds = statistics.median(starts.processor_seconds)
    return starts


async def _container(pod: Pod, number: int) -> None:
    command = SLEEPER if number % RUNS_SHARE == 0 else ["true"]
    await pod.run(f"c{number}", command=command)
