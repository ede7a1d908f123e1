"""What it costs that the server tells about itself and measures: the instrumentation of RunPodSandbox, and the sampler.

Neither can be read off the server from outside, and the difference between runs with and without would be lost in what
CNI and the kernel take. So each is done alone, very often, in processor time: the instrumentation as much of it as the
server has counted in real starts, the sampler on the cgroups of the containers that run. What is logged at the level
debug and traces to a collector are not in it: both are off unless asked for.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from api.wire import criv1
from cri.stats.sampler import Sampler
from cri.stats.settings import StatsSettings
from cri.stats.target import ProcessTarget
from e2e.bench import operation as op
from e2e.bench.contender import Contender
from e2e.bench.replay import Watched, milliseconds
from e2e.harness.exposition import exposition

SAMPLES = 50
COUNTED = re.compile(r"cri_shim_(stage|containerd_call|cni)_duration_seconds_count|cri_shim_events_total")


async def run_pod(contender: Contender, rounds: int) -> None:
    """The share of RunPodSandbox that its instrumentation takes: processor time of the one to the time of the other."""
    before = await _counted(contender)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await contender.pod()
        times.append((time.perf_counter() - began) * 1000)
    after = await _counted(contender)
    each = {name: round((after[name] - before.get(name, 0)) / rounds) for name in after}
    watched = Watched(each["stage"], each["containerd_call"], each["cni"], each["events"])
    whole = statistics.median(times)
    for spent in await milliseconds(watched):
        contender.measurements.add(op.INSTRUMENTATION, contender.name, spent / whole * 100)


async def sampler(contender: Contender) -> None:
    """The share of one processor that the sampler takes for all containers that run, at its usual period."""
    listed = await contender.runtime.ListContainers(criv1.ListContainersRequest())
    targets = [await _target(contender, each.id) for each in listed.containers]
    measured = Sampler(lambda: targets)
    try:
        await measured.sample()  # opens the files
        for _ in range(SAMPLES):
            began = time.process_time()
            await measured.sample()
            spent = time.process_time() - began
            share = spent / StatsSettings().cpu_sample_period * 100
            contender.measurements.add(op.SAMPLER, contender.name, share)
    finally:
        await measured.close()


async def _target(contender: Contender, container: str) -> ProcessTarget:
    request = criv1.ContainerStatusRequest(container_id=container, verbose=True)
    answer = await contender.runtime.ContainerStatus(request)
    return ProcessTarget(container, json.loads(answer.info["info"])["pid"])


async def _counted(contender: Contender) -> Mapping[str, float]:
    """How often each kind of thing was told so far: in RunPodSandbox, for what is counted by operation."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(await exposition(contender.node.server)):
        for sample in family.samples:
            known = COUNTED.fullmatch(sample.name)
            if known and sample.labels.get("operation", "RunPodSandbox") == "RunPodSandbox":
                name = known[1] or "events"
                sums[name] = sums.get(name, 0) + sample.value
    return sums
