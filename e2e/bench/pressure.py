"""The kubelet's own pattern on a full node, while pods come and go: what each call takes, and what it all costs.

Relist every second, probes by ExecSync on a hundred containers every ten seconds, the usage of all every ten seconds,
and a client that runs and removes pods without a pause.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from api.wire import criv1
from e2e.bench import operation as op
from e2e.bench.contender import UNTIL_STOPPED, Contender
from e2e.bench.waterfall import quantile_of_lag
from e2e.harness.exposition import exposition
from e2e.harness.node import CRI_SHIM

PROBED = 100
PERIOD_SECONDS = 10.0
RELIST_SECONDS = 1.0


@dataclass(slots=True)
class _Times:
    """Milliseconds of each call by its name."""

    found: dict[str, list[float]] = field(default_factory=dict)

    async def of(self, name: str, call: Awaitable[object]) -> None:
        began = time.perf_counter()
        await call
        self.found.setdefault(name, []).append((time.perf_counter() - began) * 1000)


async def kubelet(contender: Contender, seconds: float) -> None:
    """Load the server so for a while."""
    listed = await contender.runtime.ListContainers(criv1.ListContainersRequest())
    probed = [each.id for each in listed.containers][:PROBED]
    times = _Times()
    spent = contender.processor_seconds()
    async with _for(seconds) as group:
        group.create_task(_relist(contender, times))
        group.create_task(_usage(contender, times))
        group.create_task(_churn(contender, times))
        for number, container in enumerate(probed):
            group.create_task(_probe(contender, times, container, PERIOD_SECONDS * number / len(probed)))
    measurements = contender.measurements
    measurements.add(
        op.PRESSURE_COST, contender.name, (contender.processor_seconds() - spent) / seconds * 1000
    )
    server = contender.resident_mebibytes([contender.node.server.pid])
    measurements.add(op.PRESSURE_MEMORY, contender.name, server)
    for name, values in times.found.items():
        for percent in (50, 99):
            slow = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
            measurements.add(op.pressure(name, percent), contender.name, slow)
    if contender.name == CRI_SHIM:
        lag = quantile_of_lag(await exposition(contender.node.server), 0.99)
        if lag is not None:
            measurements.add(op.LOOP_LAG, contender.name, lag)


@asynccontextmanager
async def _for(seconds: float) -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that are ended after so long."""
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            yield group
    except TimeoutError:
        pass


async def _relist(contender: Contender, times: _Times) -> None:
    while True:
        await times.of("ListPodSandbox", contender.runtime.ListPodSandbox(criv1.ListPodSandboxRequest()))
        await times.of("ListContainers", contender.runtime.ListContainers(criv1.ListContainersRequest()))
        await asyncio.sleep(RELIST_SECONDS)


async def _usage(contender: Contender, times: _Times) -> None:
    while True:
        call = contender.runtime.ListPodSandboxStats(criv1.ListPodSandboxStatsRequest())
        await times.of("ListPodSandboxStats", call)
        await asyncio.sleep(PERIOD_SECONDS)


async def _probe(contender: Contender, times: _Times, container: str, delay: float) -> None:
    await asyncio.sleep(delay)
    request = criv1.ExecSyncRequest(container_id=container, cmd=["/bin/true"], timeout=10)
    while True:
        await times.of("ExecSync", contender.runtime.ExecSync(request))
        await asyncio.sleep(PERIOD_SECONDS)


async def _churn(contender: Contender, times: _Times) -> None:
    while True:
        began = time.perf_counter()
        pod = await contender.pod()
        await pod.run(command=UNTIL_STOPPED)
        times.found.setdefault("run to running", []).append((time.perf_counter() - began) * 1000)
        await contender.workloads.remove([pod])
