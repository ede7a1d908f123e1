"""Measurements of measuring: what stats and metrics of many running containers cost."""

from __future__ import annotations

import asyncio

import grpc

from api.wire import criv1
from e2e.bench import operation as op
from e2e.bench.contender import Contender
from e2e.harness.node import CRI_SHIM

PAUSE_SECONDS = 0.5
"""Longer than a reading is shared among callers."""


async def lists(contender: Contender, calls: int, pods: int) -> None:
    """Measure all containers and pods, over and over."""
    runtime = contender.runtime
    for _ in range(calls):
        async with contender.timed(op.LIST_STATS):
            stats = await runtime.ListContainerStats(criv1.ListContainerStatsRequest())
        if len(stats.stats) != pods:
            raise RuntimeError(f"{contender.name} measures {len(stats.stats)} of {pods} containers")
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            async with contender.timed(op.LIST_POD_STATS):
                await runtime.ListPodSandboxStats(criv1.ListPodSandboxStatsRequest())
            await asyncio.sleep(PAUSE_SECONDS)
            async with contender.timed(op.LIST_METRICS):
                await runtime.ListPodSandboxMetrics(criv1.ListPodSandboxMetricsRequest())
        except grpc.aio.AioRpcError:  # not every version of containerd has both
            if contender.name == CRI_SHIM:
                raise
        await asyncio.sleep(PAUSE_SECONDS)
