"""Pods one after the other, several at a time, each through its whole life; the server is looked at now and then."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from e2e.harness.workload import Workloads
from e2e.load.usage import Usage, slopes, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.harness.node import Node

PARALLEL = 4
WARM_UP_SHARE = 0.2
"""Of the pods; caches fill and pools of threads grow meanwhile."""
SAMPLES = 40


@dataclass
class CycleFigures:
    """What came of it."""

    pods: int = 0
    seconds: float = 0.0
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    growth_per_thousand_pods: dict[str, float] = field(default_factory=dict)


async def run_cycles(node: Node, pods: int) -> CycleFigures:
    """The lives of so many pods."""
    numbers = iter(range(pods))
    done = itertools.count(1)
    samples: list[tuple[int, Usage]] = []
    began = time.monotonic()

    async def live(numbers: Iterator[int]) -> None:
        for number in numbers:
            await life(node, f"cycle-{number}")
            so_far = next(done)
            if so_far % max(1, pods // SAMPLES) == 0:
                samples.append((so_far, usage(node.server.pid, node.directory)))

    async with asyncio.TaskGroup() as group:
        for _ in range(PARALLEL):
            group.create_task(live(numbers))
    counted = [sample for sample in samples if sample[0] > WARM_UP_SHARE * pods]
    return CycleFigures(
        pods=pods,
        seconds=round(time.monotonic() - began, 1),
        first=asdict(counted[0][1]),
        last=asdict(counted[-1][1]),
        growth_per_thousand_pods=slopes(counted),
    )


async def life(node: Node, name: str) -> None:
    """One pod with one container, from beginning to end, with a command in it."""
    workloads = Workloads(node.cri, node.directory.parent / "logs", node.busybox, node.cgroup_parent)
    pod = await workloads.pod(name)
    container = await pod.sleeper()
    await container.execute("true")
    await container.stop(grace_seconds=10)
    await container.remove()
    await workloads.remove()
