"""Where the time of cri-shim's own operations goes: the timeline of one start, and the means of all stages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from prometheus_client.parser import text_string_to_metric_families

from api.wire import criv1
from e2e.bench.contender import UNTIL_STOPPED, Contender
from e2e.harness.exposition import exposition

if TYPE_CHECKING:
    from cri.observe.timelines import Timeline
    from e2e.bench.summary import Stage

STAGES = "cri_shim_stage_duration_seconds"
STARTS = 9


async def median_start(contender: Contender) -> Timeline:
    """The timeline of that one of some pods with one container whose start took neither long nor short."""
    found = []
    for _ in range(STARTS):
        pod = await contender.pod()
        await pod.run(command=UNTIL_STOPPED)
        request = criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
        info = (await contender.runtime.PodSandboxStatus(request)).info
        found.append(cast("Timeline", json.loads(info["timeline"])))
        await contender.workloads.remove([pod])
    return sorted(found, key=lambda each: sum(step["seconds"] for step in each["operations"]))[STARTS // 2]


async def stage_means(contender: Contender) -> list[Stage]:
    """The mean of every stage of every operation since the server has started."""
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for family in text_string_to_metric_families(await exposition(contender.node.server)):
        for sample in family.samples if family.name == STAGES else ():
            kind = sample.name.removeprefix(STAGES)
            if kind in ("_sum", "_count"):
                key = sample.labels["operation"], sample.labels["stage"]
                sums.setdefault(key, {})[kind] = sample.value
    return [
        {
            "operation": operation,
            "stage": stage,
            "count": int(values["_count"]),
            "milliseconds": values["_sum"] / values["_count"] * 1000,
        }
        for (operation, stage), values in sorted(sums.items())
        if values["_count"]
    ]


def quantile_of_lag(exposed: str, share: float) -> float | None:
    """Milliseconds that the event loop's lag exceeded in less than 1 - `share` of all looks, by its histogram."""
    for family in text_string_to_metric_families(exposed):
        if family.name == "cri_shim_event_loop_lag_seconds":
            buckets = [
                (float(each.labels["le"]), each.value)
                for each in family.samples
                if each.name.endswith("_bucket")
            ]
            reached = next((bound for bound, count in buckets if count >= share * buckets[-1][1]), None)
            return None if reached is None else reached * 1000
    return None
