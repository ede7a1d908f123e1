"""Spans of finished operations for OpenTelemetry: one for the RPC, below it one for each stage and containerd call.

An optional extra: without it, or without a collector to send to, nothing of this is imported and nothing costs
anything. Spans are made when an operation has ended, from the times it has kept anyway, so that tracing adds nothing
to the path of a call. The caller's trace context (W3C `traceparent` in the gRPC metadata; the kubelet sends it) is the
parent, and decides whether the trace is kept.
"""

from __future__ import annotations

import contextvars
import os
import time
from typing import TYPE_CHECKING, Any

import grpc.aio
import structlog

from cri.errors import InvalidArgument
from cri.observe.stages import MOST_STAGES, Operation, current
from cri.observe.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

log = structlog.get_logger(__name__)

SERVICE = "cri-shim"
ENVIRONMENT = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where OpenTelemetry's own programs take the collector's address from."""
TRACES_PATH = "/v1/traces"
CARRIED = ("traceparent", "tracestate")
FLUSH_MILLISECONDS = 2000
EXPORT_SECONDS = 3
"""How long a collector that does not answer is tried; the server's stop waits for that."""
_SECOND = 1_000_000_000

_caller: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar(
    "trace_caller", default=None
)


def collector(configured: str) -> str:
    """The collector's URL for traces, "" when tracing is off.

    `configured` is an OTLP/HTTP address like http://127.0.0.1:4318; when it is empty the environment is asked.
    """
    address = configured or os.environ.get(ENVIRONMENT[1], "")
    if not configured and os.environ.get(ENVIRONMENT[0]):
        return os.environ[ENVIRONMENT[0]]
    if not address:
        return ""
    if "://" not in address:
        address = f"http://{address}"
    return address if address.endswith(TRACES_PATH) else address.rstrip("/") + TRACES_PATH


def tracing_to(url: str, sampling_ratio: float) -> Tracing:
    """Tracing that sends to a collector. Raises InvalidArgument when the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InvalidArgument(
            'tracing.endpoint is set, but OpenTelemetry is not installed: pip install "cri-shim[tracing]"'
        ) from None
    return Tracing(OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS), sampling_ratio)


class Tracing:
    """Makes spans and has them sent in the background, by a thread of the SDK's."""

    def __init__(self, exporter: SpanExporter, sampling_ratio: float = 1.0) -> None:
        """`sampling_ratio` is the share of traces begun here that are kept; callers' own decide for themselves."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        resource = Resource.create({"service.name": SERVICE, "service.version": version_of(SERVICE)})
        self._provider = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(sampling_ratio)), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Tracer = self._provider.get_tracer(SERVICE)
        self._calls: dict[int, list[_Call]] = {}

    def containerd_call(self, service: str, method: str, code: str, seconds: float) -> None:
        """Note a call that has ended for the operation under way; made for the client's `observer`."""
        operation = current()
        if operation is None or operation.seconds is not None:
            return
        calls = self._calls.setdefault(id(operation), [])
        if len(calls) < MOST_STAGES:
            calls.append((f"containerd {service}.{method}", code, time.time_ns(), seconds))

    def operation_finished(self, finished: Operation) -> None:
        """Make the spans; made for `cri.observe.stages.on_finished`, which calls in the operation's own context."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        calls = self._calls.pop(id(finished), [])
        end = finished.began_at + _nanoseconds(finished.seconds)
        span = self._tracer.start_span(
            finished.name,
            _caller_context(),
            kind=SpanKind.SERVER,
            attributes={f"cri.{key}": value for key, value in finished.attributes.items()},
            start_time=finished.began_at,
        )
        if span.is_recording():
            below = set_span_in_context(span)
            self._stages(finished, below, end)
            self._containerd(calls, below)
            _mark(span, finished.outcome or "", "ok")
        span.end(end)

    def close(self) -> None:
        """Send what is left and end. Blocking, not for long."""
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def _stages(self, finished: Operation, below: Context, end: int) -> None:
        for stage in tuple(finished.stages):
            begin = finished.began_at + _nanoseconds(stage.began - finished.began)
            span = self._tracer.start_span(stage.name, below, start_time=begin)
            span.end(end if stage.seconds is None else begin + _nanoseconds(stage.seconds))

    def _containerd(self, calls: Sequence[_Call], below: Context) -> None:
        from opentelemetry.trace import SpanKind

        for name, code, ended, seconds in calls:
            span = self._tracer.start_span(
                name, below, kind=SpanKind.CLIENT, start_time=ended - _nanoseconds(seconds)
            )
            _mark(span, code, "OK")
            span.end(ended)


class TracingInterceptor(grpc.aio.ServerInterceptor):
    """Notes the trace context of each call for the operation that it becomes."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - handlers pass through untouched
        """Each call is a task of its own, so nothing has to be taken back."""
        carried = {
            key: value
            for key, value in handler_call_details.invocation_metadata or ()
            if key in CARRIED and isinstance(value, str)
        }
        if carried:
            _caller.set(carried)
        return await continuation(handler_call_details)


_Call = tuple[str, str, int, float]
"""Name, gRPC code, end in Unix nanoseconds, seconds."""


def _caller_context() -> Context | None:
    carried = _caller.get()
    if carried is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(dict(carried))


def _mark(span: Span, outcome: str, good: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    if outcome != good:
        span.set_status(Status(StatusCode.ERROR, outcome))


def _nanoseconds(seconds: float | None) -> int:
    return int((seconds or 0.0) * _SECOND)
