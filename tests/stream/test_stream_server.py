"""Requests that are refused, certificates, idle connections: what happens before and around sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from cri.concurrency.supervision import Supervisor
from cri.errors import FailedPrecondition, Unavailable
from cri.stream.certificates import Certificates, _self_signed
from cri.stream.endpoints import AttachCall, ExecCall, PortForwardCall, Streams
from cri.stream.listener import listen, reachable_at
from cri.stream.server import StreamServer
from cri.stream.settings import CertificateFiles, StreamSettings
from tests.double.containerd import until
from tests.stream import recorded
from tests.stream.stream_clients import KEY, Refusal, SocketClient, SpdyClient, upgrade
from tests.stream.stream_fakes import FakeContainer, FakeProcess, LoopbackDialler, fake_exec

SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}
WEBSOCKET = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
}
OUTPUT = Streams(stdout=True)


def forbidden() -> ExecCall:
    """A call that must not be started."""

    def start():
        raise AssertionError("this was to be refused")

    return ExecCall(OUTPUT, start)


async def refused(
    url: str, headers: dict[str, str], method: str = "POST", path: str | None = None
) -> tuple[int, str, dict[str, list[str]]]:
    with pytest.raises(Refusal) as caught:
        await upgrade(url, headers, method, path=path)
    return caught.value.status, caught.value.body.decode(), caught.value.headers


@contextlib.asynccontextmanager
async def serving(settings: StreamSettings) -> AsyncIterator[StreamServer]:
    server = StreamServer(settings)
    await server.start()
    async with Supervisor() as supervisor:
        supervisor.keep("streams", server.run)
        yield server
    server.close()


async def raw(server: StreamServer, request: bytes) -> bytes:
    """The whole answer to any bytes."""
    port = int(server.url(forbidden()).split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "path", ["/exec/nonsense", "/exec/", "/exec", "/", "/metrics", "/exec/../x", "//exec/x"]
)
async def test_strangers_urls(server: StreamServer, path: str):
    status, _, _ = await refused(server.url(forbidden()), SPDY, path=path)
    assert status == 404


async def test_a_used_token(server: StreamServer):
    call, processes = fake_exec(_done, OUTPUT)
    url = server.url(call)
    async with SpdyClient.connect(url) as client:
        await client.open(streamtype="error")
        await client.open(streamtype="stdout")
        await client.until(lambda: client.closed)
    status, _, _ = await refused(url, SPDY)
    assert status == 404
    assert len(processes) == 1


@pytest.mark.parametrize("kind", ["attach", "portforward"])
async def test_a_token_for_another_kind_is_used_up(server: StreamServer, kind: str):
    url = server.url(forbidden())
    assert (await refused(url, SPDY, path=f"/{kind}/{url.rpartition('/')[2]}"))[0] == 404
    assert (await refused(url, SPDY))[0] == 404


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 400),
        ({"Connection": "close"}, 400),
        ({**SPDY, "Upgrade": "h2c"}, 400),
        ({**SPDY, "X-Stream-Protocol-Version": ""}, 400),
        ({name: value for name, value in SPDY.items() if name != "X-Stream-Protocol-Version"}, 400),
        ({**SPDY, "Content-Length": "5"}, 413),
        ({**SPDY, "Host": "streams.evil.example"}, 403),
        ({**SPDY, "Host": "10.0.0.1:1234"}, 403),
        ({**SPDY, "Host": ""}, 400),
        ({**SPDY, "Host": "[::"}, 400),
        ({**SPDY, "X-Filler": "x" * 20000}, 431),
        (WEBSOCKET, 405),
    ],
)
async def test_requests_without_order(server: StreamServer, headers: dict[str, str], expected: int):
    if "Content-Length" in headers:
        assert b" 413 " in await raw(
            server, b"POST /exec/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        )
        return
    status, body, _ = await refused(server.url(forbidden()), headers)
    assert status == expected, body


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Protocol": "v9.channel.k8s.io, nonsense"}, 403),
    ],
)
async def test_websocket_requests_without_order(server: StreamServer, change: dict[str, str], expected: int):
    status, _, _ = await refused(server.url(forbidden()), {**WEBSOCKET, **change}, "GET")
    assert status == expected


async def test_unknown_spdy_protocols_are_told_the_known_ones(server: StreamServer):
    headers = {**SPDY, "X-Stream-Protocol-Version": "v5.channel.k8s.io"}
    status, _, answer = await refused(server.url(forbidden()), headers)
    assert status == 403
    assert answer["x-accepted-stream-protocol-versions"] == [
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ]


async def test_forwarding_over_channels_needs_ports(server: StreamServer):
    url = server.url(PortForwardCall(LoopbackDialler()))
    assert (await refused(url, WEBSOCKET, "GET"))[0] == 400


async def test_other_methods(server: StreamServer):
    assert (await refused(server.url(forbidden()), SPDY, "DELETE"))[0] == 405


@pytest.mark.parametrize(
    "request_bytes", [b"\x16\x03\x01\x02\x00\x01\x00", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_request(server: StreamServer, request_bytes: bytes):
    assert (await raw(server, request_bytes + b"\r\n\r\n")).startswith(b"HTTP/1.1 4")


async def test_the_kubelet_may_pass_on_the_name_it_was_reached_by(server: StreamServer):
    call, _ = fake_exec(_done, OUTPUT)
    headers = {**SPDY, "Host": "node-1.example:10250", "X-Forwarded-For": "10.0.0.7"}
    _, writer, answer = await upgrade(server.url(call), headers, "POST")
    assert answer["x-stream-protocol-version"] == ["v4.channel.k8s.io"]
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("host", ["localhost:99", "127.0.0.1", "127.8.8.8:1", "[::1]:80"])
async def test_loopback_names(server: StreamServer, host: str):
    call, _ = fake_exec(_done, OUTPUT)
    _, writer, _ = await upgrade(server.url(call), {**SPDY, "Host": host}, "POST")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (recorded.SPDY_EXEC_REQUEST, recorded.SPDY_EXEC),
        (recorded.WEBSOCKET_EXEC_REQUEST, recorded.WEBSOCKET_EXEC[:-8]),
    ],
)
async def test_recorded_clients_that_do_not_wait_for_answers(server: StreamServer, head: bytes, body: bytes):
    async def cat(process: FakeProcess) -> int:
        while block := await process.stdin.get():
            await process.write(block)
        return 0

    call, _ = fake_exec(cat, Streams(stdin=True, stdout=True, stderr=True))
    token = server.url(call).rpartition("/")[2].encode()
    answer = await raw(server, head.replace(b"TOKEN", token) + body)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"hello\n" in answer
    assert answer.index(b"hello\n") < answer.index(b'"Success"')


async def test_an_idle_connection_is_closed():
    async def waits(process: FakeProcess) -> int:
        await process.abandoned.wait()
        return 1

    call, processes = fake_exec(waits, OUTPUT)
    async with serving(StreamSettings(stream_idle_timeout=0.2)) as server:
        async with SpdyClient.connect(server.url(call)) as client:
            await client.open(streamtype="error")
            await client.open(streamtype="stdout")
            await client.until(lambda: client.closed, 5)
        await asyncio.wait_for(processes[0].removed.wait(), 5)


async def test_traffic_keeps_a_connection():
    container = FakeContainer()
    async with (
        serving(StreamSettings(stream_idle_timeout=0.3)) as server,
        SocketClient.connect(server.url(AttachCall(OUTPUT, container.attach)), "v4.channel.k8s.io") as client,
    ):
        for _ in range(6):
            await container.live.put(("stdout", b"tick"))
            await asyncio.sleep(0.1)
        assert not client.closed
        await client.until(lambda: client.closed, 5)


async def test_sessions_end_with_the_server():
    async def waits(process: FakeProcess) -> int:
        await asyncio.Event().wait()
        return 0

    call, processes = fake_exec(waits, OUTPUT)
    async with contextlib.AsyncExitStack() as stack:
        async with serving(StreamSettings()) as server:
            client = await stack.enter_async_context(SpdyClient.connect(server.url(call)))
            await client.open(streamtype="error")
            await client.open(streamtype="stdout")
            await until(lambda: bool(processes))
        assert processes[0].removed.is_set()


async def test_streams_over_tls_with_a_certificate_of_our_own():
    call, _ = fake_exec(_done, OUTPUT)
    async with serving(StreamSettings(enable_tls_streaming=True)) as server:
        url = server.url(call)
        assert url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with SpdyClient.connect(url, context=context) as client:
            await client.open(streamtype="error")
            stdout = await client.open(streamtype="stdout")
            assert await client.content(stdout) == b"done"
            await client.until(lambda: client.closed)


def pair_in(directory: Path) -> CertificateFiles:
    pair = _self_signed("127.0.0.1").partition(b"-----BEGIN PRIVATE KEY")
    files = CertificateFiles(directory / "tls.crt", directory / "tls.key")
    files.certificate.write_bytes(pair[0])
    files.key.write_bytes(pair[1] + pair[2])
    return files


def presented(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=5)


async def test_a_replaced_certificate_is_used_from_the_next_connection(tmp_path: Path):
    files = pair_in(tmp_path)
    async with serving(StreamSettings(enable_tls_streaming=True, x509_key_pair_streaming=files)) as server:
        port = int(server.url(forbidden()).split(":")[2].split("/")[0])
        first = await asyncio.to_thread(presented, port)
        assert first.strip() == files.certificate.read_text().strip()
        other = tmp_path / "other"
        other.mkdir()
        following = pair_in(other)
        os.replace(following.certificate, files.certificate)
        assert await asyncio.to_thread(presented, port) == first, "half of a new pair is of no use"
        os.replace(following.key, files.key)
        second = await asyncio.to_thread(presented, port)
        assert second.strip() == files.certificate.read_text().strip()
        assert second != first


def test_files_that_are_no_pair(tmp_path: Path):
    files = CertificateFiles(tmp_path / "missing.crt", tmp_path / "missing.key")
    with pytest.raises(FailedPrecondition, match="missing.crt"):
        Certificates(files, "127.0.0.1")


def test_an_address_that_cannot_be_had():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Unavailable, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(Unavailable):
        listen("192.0.2.1", 0)
    with pytest.raises(Unavailable):
        listen("nowhere.invalid", 0)


@pytest.mark.parametrize(("address", "expected"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_urls_of_a_wildcard_are_loopback(address: str, expected: str):
    listener = listen(address, 0)
    with listener:
        assert reachable_at(listener) == (expected, listener.getsockname()[1])


def test_urls_before_the_start():
    with pytest.raises(Unavailable):
        StreamServer(StreamSettings()).url(forbidden())


async def _done(process: FakeProcess) -> int:
    await process.write(b"done")
    return 0


async def test_log_lines_of_a_session_say_what_it_is_about(
    server: StreamServer, capsys: pytest.CaptureFixture[str]
):
    async def wait(process: FakeProcess) -> int:
        await process.abandoned.wait()
        return 0

    with structlog.contextvars.bound_contextvars(container="c1", request_id="r1"):
        url = server.url(fake_exec(wait, OUTPUT)[0])
    async with SpdyClient.connect(url) as client:
        await client.open(streamtype="error")
        await client.open(streamtype="stdout")
    await until(lambda: not server.sessions)
    line = next(line for line in capsys.readouterr().out.splitlines() if "client of an exec is gone" in line)
    assert "container=c1" in line
    assert "request_id=r1" in line
