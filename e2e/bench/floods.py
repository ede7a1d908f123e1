"""Measurements of what containers that write as fast as they can cost everybody else."""

from __future__ import annotations

import statistics
import time

from e2e.bench import operation as op
from e2e.bench.contender import UNTIL_STOPPED, Contender

FLOODS = 2
LINE = "x" * 99
PERCENT = 99


async def answers(contender: Contender, calls: int) -> None:
    """Ask for the status of a quiet container beside some that flood their logs."""
    pod = await contender.pod(host_network=True)
    quiet = await pod.run("quiet", command=UNTIL_STOPPED)
    floods = [await pod.run(f"flood-{number}", command=["yes", LINE]) for number in range(FLOODS)]
    milliseconds = []
    for _ in range(calls):
        began = time.perf_counter()
        await quiet.status()
        milliseconds.append((time.perf_counter() - began) * 1000)
    await contender.workloads.remove([pod])
    for flood in floods:
        flood.log_file.unlink()
    slow = statistics.quantiles(milliseconds, n=100, method="inclusive")[PERCENT - 1]
    contender.measurements.add(op.STATUS_BESIDE_FLOODS, contender.name, slow)
