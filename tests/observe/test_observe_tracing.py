"""Spans: the caller's trace goes on, stages and containerd calls lie below, a collector receives them over HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from cri.errors import InvalidArgument
from cri.observe import tracing as module
from cri.observe.stages import on_finished, operation, stage
from cri.observe.tracing import Tracing, TracingInterceptor, collector, tracing_to

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    made = Tracing(exporter)
    remove = on_finished(made.operation_finished)
    yield made
    remove()
    made.close()


def spans(tracing: Tracing, exporter: InMemorySpanExporter):
    tracing._provider.force_flush()
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_an_operation_its_stages_and_calls(tracing: Tracing, exporter: InMemorySpanExporter):
    with operation("RunPodSandbox", pod="shop/web"):
        with stage("netns"):
            await asyncio.sleep(0.01)
        with stage("task-create"):
            tracing.containerd_call("Tasks", "Create", "OK", 0.002)
            tracing.containerd_call("Tasks", "Start", "NOT_FOUND", 0.001)
    found = spans(tracing, exporter)
    root = found["RunPodSandbox"]
    assert (root.kind, root.parent, root.attributes["cri.pod"]) == (SpanKind.SERVER, None, "shop/web")
    for name in ("netns", "task-create", "containerd Tasks.Create", "containerd Tasks.Start"):
        child = found[name]
        assert child.parent.span_id == root.context.span_id, name
        assert root.start_time - 1_000_000 <= child.start_time <= child.end_time <= root.end_time + 5_000_000
    assert found["netns"].end_time - found["netns"].start_time >= 9_000_000
    assert found["containerd Tasks.Start"].status.status_code is StatusCode.ERROR
    assert found["containerd Tasks.Create"].status.status_code is not StatusCode.ERROR
    assert not tracing._calls, "nothing is kept of ended operations"


async def test_a_failure_is_marked(tracing: Tracing, exporter: InMemorySpanExporter):
    with pytest.raises(ValueError, match="boom"), operation("StopContainer"):
        raise ValueError("boom")
    status = spans(tracing, exporter)["StopContainer"].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "ValueError")


async def test_calls_outside_of_operations_make_no_spans(tracing: Tracing, exporter: InMemorySpanExporter):
    tracing.containerd_call("Version", "Version", "OK", 0.001)
    assert spans(tracing, exporter) == {}


@pytest.mark.parametrize(("flags", "kept"), [("01", True), ("00", False)])
async def test_the_callers_trace_goes_on_and_decides(
    tracing: Tracing, exporter: InMemorySpanExporter, flags: str, kept: bool
):
    async def answer(request: bytes, context: object) -> bytes:
        with operation("Version"), stage("nothing"):
            return request

    server = grpc.aio.server(interceptors=[TracingInterceptor()])
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Service", {"Version": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test.Service/Version")
        await call(b"x", metadata=(("traceparent", f"00-{TRACE}-{PARENT}-{flags}"),))
        await call(b"x")
    await server.stop(0)
    tracing._provider.force_flush()
    found = [span for span in exporter.get_finished_spans() if span.name == "Version"]
    continued = [span for span in found if f"{span.context.trace_id:032x}" == TRACE]
    assert bool(continued) is kept
    assert all(f"{span.parent.span_id:016x}" == PARENT for span in continued)
    assert len(found) - len(continued) == 1, "a call without a trace begins one"


def test_traces_begun_here_are_sampled(exporter: InMemorySpanExporter):
    never = Tracing(exporter, 0.0)
    remove = on_finished(never.operation_finished)
    with operation("Version"), stage("nothing"):
        pass
    remove()
    assert spans(never, exporter) == {}
    never.close()


async def test_a_collector_receives_spans_over_http():
    received: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        received.append(ExportTraceServiceRequest.FromString(body))
        return web.Response(content_type="application/x-protobuf")

    application = web.Application()
    application.router.add_post("/v1/traces", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made = await asyncio.to_thread(tracing_to, collector(f"127.0.0.1:{runner.addresses[0][1]}"), 1.0)
    remove = on_finished(made.operation_finished)
    with operation("RunPodSandbox"), stage("netns"):
        pass
    remove()
    await asyncio.to_thread(made.close)
    await runner.cleanup()
    sent = [
        span.name
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert sorted(sent) == ["RunPodSandbox", "netns"]


@pytest.mark.parametrize(
    ("configured", "environment", "url"),
    [
        ("", {}, ""),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("c:4318/", {}, "http://c:4318/v1/traces"),
        ("https://c/v1/traces", {}, "https://c/v1/traces"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318"}, "http://e:4318/v1/traces"),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/own"}, "http://t/own"),
        ("http://c", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e"}, "http://c/v1/traces"),
    ],
)
def test_where_traces_go(
    configured: str, environment: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
):
    for name in module.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert collector(configured) == url


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidArgument, match=r"pip install \"cri-shim\[tracing\]\""):
        tracing_to("http://c/v1/traces", 1.0)
