"""Connects what the server does with what tells about it: metrics, slow-operation log, timelines, totals of logs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from cri.concurrency.undo import watch_leftovers
from cri.observe.interceptor import ObservingInterceptor
from cri.observe.log_totals import LogMeter
from cri.observe.server_certificate import ServerCertificate
from cri.observe.slow_operations import SlowOperationLog
from cri.observe.snapshots import LogTotals, ObjectCount, count_objects
from cri.observe.stages import on_finished
from cri.observe.tracing import TracingInterceptor, collector, tracing_to
from cri.sandbox.janitor.values import Remedy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from api.containerd.calls import CallObserver
    from cri.app.config.schema import MetricsSection, TracingSection
    from cri.app.node import Assembly
    from cri.logs.client import LogKeeper
    from cri.observe.metrics import Metrics
    from cri.observe.tracing import Tracing
    from cri.sandbox.janitor.rounds import Round

log = structlog.get_logger(__name__)


def watch_operations(assembly: Assembly, metrics: Metrics) -> SlowOperationLog:
    """Have every operation, and everything that scrapes ask for, told from now on; answers who logs the slow ones."""
    slow = SlowOperationLog(assembly.configuration.debug.slow_operation_threshold)
    on_finished(metrics.operation_finished)
    on_finished(assembly.on.timelines)
    watch_leftovers(metrics.rollback_leftover)
    watch_leftovers(assembly.janitor.note_failed_undo)
    on_finished(slow)
    assembly.janitor.on_round = lambda finished: _tell_of_round(finished, metrics)
    engine = assembly.on.engine

    def objects() -> list[ObjectCount]:
        return count_objects(
            {
                "sandbox": ["ready" if sandbox.ready else "notready" for sandbox in engine.node.sandboxes],
                "container": [container.status.phase.value for container in engine.node.containers],
                "image": ["present" for _ in engine.images.list()],
            }
        )

    def recovered() -> list[ObjectCount]:
        found = assembly.on.observer.recovery
        if found is None:
            return []
        counts = count_objects(
            {
                "sandbox": ["ready" if sandbox.ready else "notready" for sandbox in found.sandboxes],
                "container": [container.status.phase.value for container in found.containers],
            }
        )
        return [*counts, ObjectCount("record", "unreadable", len(found.quarantined))]

    metrics.snapshots.objects = objects
    metrics.snapshots.recovered = recovered
    metrics.snapshots.stream_sessions = lambda: assembly.on.streams.sessions
    metrics.snapshots.containerd_up = assembly.on.observer.connected.is_set
    return slow


def _tell_of_round(finished: Round, metrics: Metrics) -> None:
    metrics.upkeep.janitor_round(
        removed=[each.kind.value for each in finished.removed],
        failed=[each.kind.value for each in finished.failed],
        reported=[each.kind.value for each in finished.found if each.remedy is Remedy.REPORT],
    )


@contextlib.asynccontextmanager
async def traced(section: TracingSection) -> AsyncIterator[Tracing | None]:
    """Spans of every operation for the duration of the block; None while there is no collector to send them to.

    Raises InvalidArgument when a collector is named and OpenTelemetry is not installed.
    """
    url = collector(section.endpoint)
    if not url:
        yield None
        return
    tracing = await asyncio.to_thread(tracing_to, url, section.sampling_ratio)
    log.info("operations are traced", collector=url)
    remove = on_finished(tracing.operation_finished)
    try:
        yield tracing
    finally:
        remove()
        await asyncio.to_thread(tracing.close)


async def metrics_certificate(section: MetricsSection) -> ServerCertificate | None:
    """What /metrics is served with; None without TLS. Raises FailedPrecondition when the files cannot be used."""
    if not section.tls_cert_file:
        return None
    return await asyncio.to_thread(ServerCertificate, Path(section.tls_cert_file), Path(section.tls_key_file))


def call_observer(metrics: Metrics, tracing: Tracing | None) -> CallObserver:
    """Who hears of each call to containerd."""
    if tracing is None:
        return metrics.containerd_call

    def observe(service: str, method: str, code: str, seconds: float) -> None:
        metrics.containerd_call(service, method, code, seconds)
        tracing.containerd_call(service, method, code, seconds)

    return observe


def interceptors(metrics: Metrics, tracing: Tracing | None) -> list[grpc.aio.ServerInterceptor]:
    """What every call of the server passes, outermost first."""
    observing = ObservingInterceptor(metrics)
    return [observing] if tracing is None else [TracingInterceptor(), observing]


async def watch_logs(keeper: LogKeeper, metrics: Metrics) -> None:
    """Read the log keeper's counters now and then, for ever; made for `Supervisor.keep`."""
    meter = LogMeter()
    metrics.snapshots.logs = meter.totals

    async def read() -> dict[str, LogTotals]:
        return {
            container_id: LogTotals(
                bytes=each.bytes,
                lines=each.lines,
                split_lines=each.split_lines,
                lost_bytes=each.lost_bytes,
                suppressed_bytes=each.suppressed_bytes,
                rotations=each.rotations,
            )
            for container_id, each in (await keeper.statistics()).items()
        }

    await meter.watch(read)
