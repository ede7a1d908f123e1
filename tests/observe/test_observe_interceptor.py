"""The interceptor on a real server: codes, latency, in-flight, cancellation, deadlines, streams."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
import structlog

from cri.observe.interceptor import ObservingInterceptor
from cri.observe.metrics import Metrics


class Probe:
    """One service of four methods; messages are bytes as they are."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.ended = asyncio.Event()
        self.bound: dict[str, object] = {}

    async def answer(self, request, context):
        self.bound = structlog.contextvars.get_contextvars()
        if request == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        if request == b"break":
            raise RuntimeError("bug")
        if request == b"set":
            context.set_code(grpc.StatusCode.ALREADY_EXISTS)
        return request

    async def hang(self, request, context):
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def generate(self, request, context):
        self.entered.set()
        try:
            for number in range(3):
                yield b"%d" % number
            if request == b"abort":
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
            if request == b"hang":
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def write(self, request, context):
        await context.write(b"one")
        await context.write(b"two")


@pytest.fixture
async def served(tmp_path):
    probe, metrics = Probe(), Metrics()
    server = grpc.aio.server(interceptors=[ObservingInterceptor(metrics)])
    handlers = {
        "Answer": grpc.unary_unary_rpc_method_handler(probe.answer),
        "Hang": grpc.unary_unary_rpc_method_handler(probe.hang),
        "Generate": grpc.unary_stream_rpc_method_handler(probe.generate),
        "Write": grpc.unary_stream_rpc_method_handler(probe.write),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Probe", handlers),))
    path = f"unix://{tmp_path}/probe.sock"
    server.add_insecure_port(path)
    await server.start()
    async with grpc.aio.insecure_channel(path) as channel:
        yield probe, metrics, channel
    await server.stop(None)


def count(metrics: Metrics, method: str, code: str) -> float | None:
    return metrics.registry.get_sample_value("cri_shim_rpcs_total", {"method": method, "code": code})


def in_flight(metrics: Metrics, method: str) -> float | None:
    return metrics.registry.get_sample_value("cri_shim_rpcs_in_flight", {"method": method})


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"hello", "OK"),
        (b"abort", "NOT_FOUND"),
        (b"break", "UNKNOWN"),
        (b"set", "ALREADY_EXISTS"),
    ],
)
async def test_unary_calls_count_by_the_code_the_client_sees(served, request_bytes, code):
    probe, metrics, channel = served
    call = channel.unary_unary("/test.Probe/Answer")(request_bytes)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call
    assert (await call.code()).name == code
    # The client may hear of the end before the interceptor has counted it.
    await until(lambda: count(metrics, "Answer", code) == 1)
    assert in_flight(metrics, "Answer") == 0
    assert probe.bound["rpc"] == "Answer"
    assert probe.bound["request_id"]


async def test_request_ids_differ(served):
    probe, _metrics, channel = served
    await channel.unary_unary("/test.Probe/Answer")(b"x")
    first = probe.bound["request_id"]
    await channel.unary_unary("/test.Probe/Answer")(b"x")
    assert probe.bound["request_id"] != first


async def test_a_client_that_gives_up_is_cancelled(served):
    probe, metrics, channel = served
    call = channel.unary_unary("/test.Probe/Hang")(b"")
    await asyncio.gather(probe.entered.wait(), asyncio.sleep(0))
    assert in_flight(metrics, "Hang") == 1
    call.cancel()
    await probe.ended.wait()
    await until(lambda: count(metrics, "Hang", "CANCELLED") == 1)
    assert in_flight(metrics, "Hang") == 0


async def test_a_deadline_that_passes_is_told_from_a_cancellation(served):
    _probe, metrics, channel = served
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Probe/Hang")(b"", timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: count(metrics, "Hang", "DEADLINE_EXCEEDED") == 1)


@pytest.mark.parametrize(("request_bytes", "code"), [(b"", "OK"), (b"abort", "RESOURCE_EXHAUSTED")])
async def test_streams_pass_every_item_and_count_once(served, request_bytes, code):
    _probe, metrics, channel = served
    call = channel.unary_stream("/test.Probe/Generate")(request_bytes)
    items = []
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for item in call:
            items.append(item)  # noqa: PERF401 - what came before the error counts too
    assert items == [b"0", b"1", b"2"]
    assert (await call.code()).name == code
    assert count(metrics, "Generate", code) == 1
    assert in_flight(metrics, "Generate") == 0


async def test_a_stream_that_its_client_leaves_ends_its_generator(served):
    probe, metrics, channel = served
    call = channel.unary_stream("/test.Probe/Generate")(b"hang")
    assert await call.read() == b"0"
    call.cancel()
    async with asyncio.timeout(5):
        await probe.ended.wait()
    await until(lambda: count(metrics, "Generate", "CANCELLED") == 1)
    assert in_flight(metrics, "Generate") == 0


async def test_a_method_that_writes_through_the_context(served):
    _probe, metrics, channel = served
    assert [item async for item in channel.unary_stream("/test.Probe/Write")(b"")] == [b"one", b"two"]
    assert count(metrics, "Write", "OK") == 1


async def test_unknown_methods_are_left_to_grpc(served):
    _probe, _metrics, channel = served
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Probe/Nothing")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_an_error_nobody_foresaw_is_logged_with_its_traceback(served):
    _probe, _metrics, channel = served
    with structlog.testing.capture_logs() as events, pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary("/test.Probe/Answer")(b"break")
    unforeseen = [event for event in events if event["log_level"] == "error" and "exc_info" in event]
    assert len(unforeseen) == 1
    assert isinstance(unforeseen[0]["exc_info"], RuntimeError)
