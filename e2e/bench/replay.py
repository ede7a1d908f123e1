"""What it costs to watch one RunPodSandbox: everything that tells about it, done over and over without the pod.

`python -m e2e.bench.replay '{"stages": 9, ...}'` prints a JSON list of milliseconds of processor time, one for each
batch. It is a process of its own because the hooks and the log are a process's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import structlog

from cri.observe.interceptor import ObservingInterceptor
from cri.observe.logging import set_up_logging
from cri.observe.metrics import Metrics
from cri.observe.slow_operations import SlowOperationLog
from cri.observe.stages import on_finished, operation, stage
from cri.observe.timelines import Timelines

BATCHES, CALLS = 15, 100
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is told of one RunPodSandbox, as the server itself has counted."""

    stages: int
    containerd_calls: int
    plugin_runs: int
    events: int


async def milliseconds(watched: Watched) -> list[float]:
    """Processor time of telling it: the interceptor, stages with all who hear of them, counters, one log line."""
    executed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "e2e.bench.replay", json.dumps(asdict(watched))),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await executed.communicate()
    return cast("list[float]", json.loads(output))


async def _measure(watched: Watched) -> list[float]:
    metrics = Metrics()
    for hook in (metrics.operation_finished, Timelines(), SlowOperationLog(10.0)):
        on_finished(hook)

    async def run(_request: object, _context: object) -> None:
        with operation("RunPodSandbox", sandbox="a" * 64, pod="shop/web", uid="u"):
            for number in range(watched.stages):
                with stage(f"stage-{number}"):
                    pass
            for _ in range(watched.containerd_calls):
                began = time.monotonic()
                metrics.containerd_call("Containers", "Create", "OK", time.monotonic() - began)
            for _ in range(watched.plugin_runs):
                metrics.cni_call("bridge", "ADD", 0.02, failed=False)
            for _ in range(watched.events):
                metrics.event("created")
            log.info("sandbox runs", sandbox="a" * 64, name="web_shop_u_0", ip="10.0.0.2")

    async def method(_details: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(cast("Any", run))

    details = cast("Any", SimpleNamespace(method="/runtime.v1.RuntimeService/RunPodSandbox"))
    context = SimpleNamespace(code=lambda: None, details=lambda: "", time_remaining=lambda: None)
    interceptor = ObservingInterceptor(metrics)
    spent = []
    for _ in range(BATCHES):
        began = time.process_time()
        for _ in range(CALLS):
            handler = cast("Any", await interceptor.intercept_service(method, details))
            await cast("Awaitable[None]", handler.unary_unary(None, context))
        spent.append((time.process_time() - began) / CALLS * 1000)
    return spent


if __name__ == "__main__":
    with Path("/dev/null").open("w") as nowhere:
        set_up_logging("info", "text", nowhere)
        print(json.dumps(asyncio.run(_measure(Watched(**json.loads(sys.argv[1]))))))
