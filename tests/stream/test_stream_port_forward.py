"""Port forwarding: playbooks of the protocols, then sessions on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cri.stream import spdy_frames as frames
from cri.stream.channels import Coding
from cri.stream.endpoints import PortForwardCall
from cri.stream.port_forward import Block, Dropped, Ended, Requested, RoomMade
from cri.stream.server import StreamServer
from cri.stream.spdy_port_forward import SpdyPortForward
from cri.stream.spdy_session import Role, SpdySession, StreamBlock, StreamEnded, StreamReset
from cri.stream.tunnel import TunnelledPortForward
from cri.stream.websocket_port_forward import WebSocketPortForward
from tests.stream import recorded
from tests.stream.stream_clients import SocketClient, SpdyClient
from tests.stream.stream_fakes import LoopbackDialler

PROTOCOL = "portforward.k8s.io"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:18998\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """A port that is served by `handler`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65536):
        writer.write(block)
        await writer.drain()
    writer.write_eof()


async def refused_port() -> int:
    async with listening(echo) as port:
        return port


async def open_pair(client: SpdyClient, port: int, request: str) -> tuple[int, int]:
    """As kubectl does: the error stream, ended at once, then the data stream."""
    headers = {"port": str(port), "requestid": request}
    error = await client.open(streamtype="error", **headers)
    client.end(error)
    return error, await client.open(streamtype="data", **headers)


def test_a_recorded_session():
    protocol = SpdyPortForward()
    assert protocol.receive(recorded.SPDY_FORWARD) == [Requested(3, 18999), Block(3, REQUEST)]
    protocol.send(3, b"answer")
    protocol.end(3)
    protocol.take()
    protocol.finish(3)
    sent = frames.FrameReader().feed(b"".join(protocol.take()))
    assert sent == [frames.RstStream(3, 5), frames.Data(1, b"", fin=True)]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_recorded_tunnel(size: int):
    protocol = TunnelledPortForward()
    wire = recorded.TUNNELLED_FORWARD
    events = [
        event for start in range(0, len(wire), size) for event in protocol.receive(wire[start : start + size])
    ]
    assert events == [Requested(3, 18999)]
    assert all(block.startswith(b"\x82") for block in protocol.take()), "answers are binary messages"


class Opened:
    """A protocol with a client of the same connection."""

    def __init__(self) -> None:
        self.protocol = SpdyPortForward()
        self.client = SpdySession(Role.CLIENT)

    def open(self, **headers: str) -> int:
        return self.client.open(headers)

    def to_server(self) -> list[object]:
        return list(self.protocol.receive(b"".join(self.client.take())))

    def to_client(self) -> list[object]:
        return list(self.client.receive(b"".join(self.protocol.take())))

    def pair(self, request: str = "0", port: str = "80") -> tuple[int, int]:
        error = self.open(streamtype="error", port=port, requestid=request)
        data = self.open(streamtype="data", port=port, requestid=request)
        assert self.to_server() == [Requested(data, int(port))]
        self.to_client()
        return error, data


@pytest.mark.parametrize(
    "headers",
    [
        {"streamtype": "data"},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "65536"},
        {"streamtype": "data", "port": "-1"},
        {"streamtype": "data", "port": "٨٠"},
        {"streamtype": "data", "port": "8" * 3000},
        {"streamtype": "stdin", "port": "80"},
        {"port": "80"},
    ],
)
def test_streams_without_order_are_refused_alone(headers: dict[str, str]):
    opened = Opened()
    stream_id = opened.open(**headers)
    assert opened.to_server() == []
    assert StreamReset(stream_id) in opened.to_client()
    opened.pair()


def test_old_clients_are_paired_by_stream_ids():
    opened = Opened()
    first = opened.open(streamtype="error", port="80"), opened.open(streamtype="data", port="80")
    second = opened.open(streamtype="error", port="81"), opened.open(streamtype="data", port="81")
    assert opened.to_server() == [Requested(first[1], 80), Requested(second[1], 81)]


def test_a_second_stream_of_a_kind_is_refused():
    opened = Opened()
    opened.open(streamtype="error", port="80", requestid="7")
    again = opened.open(streamtype="error", port="80", requestid="7")
    data = opened.open(streamtype="data", port="80", requestid="7")
    assert opened.to_server() == [Requested(data, 80)]
    assert StreamReset(again) in opened.to_client()


def test_a_failed_connection_says_why_on_its_error_stream_and_is_reset_alone():
    opened = Opened()
    error, data = opened.pair("1")
    _, other = opened.pair("2")
    opened.protocol.fail(data, "connection refused")
    assert opened.to_client() == [
        StreamBlock(error, b"connection refused"),
        StreamEnded(error),
        StreamReset(data),
    ]
    opened.protocol.send(other, b"not concerned")
    assert opened.to_client() == [StreamBlock(other, b"not concerned")]


def test_a_connection_that_broke_has_no_message():
    opened = Opened()
    error, data = opened.pair()
    opened.protocol.abort(data)
    assert opened.to_client() == [StreamReset(data), StreamEnded(error)]


def test_a_reset_of_the_client_drops_its_connection():
    opened = Opened()
    _, data = opened.pair()
    opened.client.reset(data)
    assert opened.to_server() == [Dropped(data)]
    assert opened.protocol.room(data) > 0


def test_an_offer_and_its_reset_in_one_piece():
    opened = Opened()
    _, data = opened.pair("1")
    error = opened.open(streamtype="error", port="80", requestid="2")
    opened.client.reset(error)
    opened.client.send(data, b"not concerned")
    assert opened.to_server() == [Block(data, b"not concerned")]
    opened.pair("2")


def test_the_end_of_the_clients_half():
    opened = Opened()
    _, data = opened.pair()
    opened.client.send(data, b"x")
    opened.client.end(data)
    assert opened.to_server() == [Block(data, b"x"), Ended(data)]


def test_half_a_pair_is_given_up_at_the_second_sweep():
    opened = Opened()
    error = opened.open(streamtype="error", port="80", requestid="1")
    opened.to_server()
    opened.protocol.sweep()
    assert not any(isinstance(event, StreamEnded) for event in opened.to_client())
    opened.protocol.sweep()
    assert StreamEnded(error) in opened.to_client()
    assert opened.to_server() == [RoomMade()], "the message has widened the client's window"
    opened.pair("1")


def test_channels_begin_with_their_ports():
    protocol = WebSocketPortForward(Coding.RAW, (80, 0x1234))
    assert protocol.receive(b"") == [Requested(0, 80), Requested(2, 0x1234)]
    assert protocol.take() == [
        b"\x82\x03\x00\x50\x00",
        b"\x82\x03\x01\x50\x00",
        b"\x82\x03\x02\x34\x12",
        b"\x82\x03\x03\x34\x12",
    ]


async def test_many_connections_on_one_session(server: StreamServer):
    async with (
        listening(echo) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):

        async def one(number: int) -> None:
            error, data = await open_pair(client, port, str(number))
            await client.send(data, b"%d " % number * 5000)
            client.end(data)
            assert await client.content(data) == b"%d " % number * 5000
            assert await client.content(error) == b""

        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(one(number))


async def test_a_connection_that_is_given_up_at_once_is_finished(server: StreamServer):
    async with (
        listening(echo) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        headers = {"port": str(port), "requestid": "1"}
        error = await client.open(streamtype="error", **headers)
        client.session.reset(client.session.open({"streamtype": "data", **headers}))
        client.flush()  # both in one piece
        assert await client.content(error) == b""


async def test_a_refused_port_fails_its_pair_alone(server: StreamServer):
    refused = await refused_port()
    async with (
        listening(echo) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        _, standing = await open_pair(client, port, "1")
        await client.send(standing, b"a")
        error, data = await open_pair(client, refused, "2")
        assert f"port {refused} cannot be reached".encode() in await client.content(error)
        await client.content(data)
        assert data in client.reset
        await client.send(standing, b"b")
        client.end(standing)
        assert await client.content(standing) == b"ab"


async def test_half_close_towards_the_pod(server: StreamServer):
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read()
        await asyncio.sleep(0.2)
        writer.write(b"answer to " + request)
        await writer.drain()

    async with (
        listening(answer_at_the_end) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        _, data = await open_pair(client, port, "1")
        await client.send(data, b"request")
        client.end(data)
        assert await client.content(data) == b"answer to request"


async def test_half_close_towards_the_client(server: StreamServer):
    collected: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        writer.write_eof()
        collected.set_result(await reader.read())

    async with (
        listening(greet_and_listen) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        error, data = await open_pair(client, port, "1")
        assert await client.content(data) == b"greeting"
        await client.send(data, b"long after")
        client.end(data)
        assert await asyncio.wait_for(collected, 5) == b"long after"
        assert await client.content(error) == b""


async def test_a_pod_that_resets_does_not_end_the_session(server: StreamServer):
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with (
        listening(reset) as bad,
        listening(echo) as good,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        error, data = await open_pair(client, bad, "1")
        await client.send(data, b"x")
        assert await client.content(error) == b"", "clients end all connections when there is a message"
        assert data in client.reset
        _, other = await open_pair(client, good, "2")
        await client.send(other, b"fine")
        client.end(other)
        assert await client.content(other) == b"fine"


async def test_a_client_that_vanishes_closes_its_connections(server: StreamServer):
    closed = asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with listening(until_closed) as port:
        async with SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client:
            await open_pair(client, port, "1")
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_pod_that_does_not_read_holds_up_its_own_connection_only(server: StreamServer):
    released = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()
        await released.wait()

    async with (
        listening(deaf) as deaf_port,
        listening(echo) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        _, stuck = await open_pair(client, deaf_port, "1")
        room = client.session.room(stuck)
        await client.send(stuck, bytes(min(room, 65536)))
        _, other = await open_pair(client, port, "2")
        await client.send(other, b"alive")
        client.end(other)
        assert await client.content(other) == b"alive"
        released.set()


@pytest.mark.parametrize("counts", [True, False])
async def test_much_data_both_ways_with_checksum(server: StreamServer, counts: bool):
    block = bytes(range(256)) * 256
    async with (
        listening(echo) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        client.counts = counts
        _, data = await open_pair(client, port, "1")
        for _ in range(256):
            await client.send(data, block)
        client.end(data)
        assert hashlib.sha256(await client.content(data, 30)).digest() == hashlib.sha256(block * 256).digest()


@pytest.mark.parametrize("counts", [True, False])
async def test_echoes_for_a_client_that_heeds_no_windows(server: StreamServer, counts: bool):
    """Its updates are behind what it has sent too much."""
    content = bytes(range(256)) * (128 << 10)
    async with (
        listening(echo) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        client.counts, client.heeds = counts, False

        async def one(number: int) -> bytes:
            _, data = await open_pair(client, port, str(number))
            await client.send(data, content[:1])
            await client.until(lambda: client.received[data])
            await client.send(data, content[1:])
            client.end(data)
            return await client.content(data)

        async with asyncio.timeout(20):
            assert await asyncio.gather(one(1), one(2)) == [content, content]


async def test_a_client_that_does_not_read_can_send(server: StreamServer):
    """As with TCP, where the pod reads and pours at once: neither direction waits for the other."""
    content = bytes(32 << 20)
    collected: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def pour_and_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        collected.set_result(len(await reader.read()))
        writer.close()

    async with (
        listening(pour_and_read) as port,
        SpdyClient.connect(server.url(PortForwardCall(LoopbackDialler())), PROTOCOL) as client,
    ):
        client.counts, client.heeds = False, False
        _, data = await open_pair(client, port, "1")
        client.paused.clear()
        async with asyncio.timeout(20):
            await client.send(data, content)
            client.end(data)
            assert await collected == len(content)
        client.paused.set()
        assert await client.content(data) == content


@pytest.mark.parametrize("protocol", ["", "v4.channel.k8s.io"])
async def test_websocket_channels(server: StreamServer, protocol: str):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.readexactly(3))

    refused = await refused_port()
    async with (
        listening(answer) as port,
        SocketClient.connect(
            server.url(PortForwardCall(LoopbackDialler(), (port, refused))), protocol
        ) as client,
    ):
        await client.send(b"\x00abc")
        await client.until(lambda: client.closed)
        assert client.content(0) == port.to_bytes(2, "little") + b"got abc"
        assert client.content(1) == port.to_bytes(2, "little")
        assert b"cannot be reached" in client.content(3)
        assert client.close_code == 1000


async def test_channels_in_base64(server: StreamServer):
    async with (
        listening(echo) as port,
        SocketClient.connect(
            server.url(PortForwardCall(LoopbackDialler(), (port,))), "v4.base64.channel.k8s.io"
        ) as client,
    ):
        await client.send("0aGVsbG8=")
        await client.until(lambda: b"0aGVsbG8=" in client.messages)


async def test_a_tunnel_on_a_real_socket(server: StreamServer):
    async with (
        listening(echo) as port,
        SocketClient.connect(
            server.url(PortForwardCall(LoopbackDialler())), "SPDY/3.1+portforward.k8s.io"
        ) as client,
    ):
        spdy = SpdySession(Role.CLIENT)
        headers = {"port": str(port), "requestid": "0"}
        spdy.open({"streamtype": "error", **headers})
        data = spdy.open({"streamtype": "data", **headers})
        await client.send(b"".join(spdy.take()))
        echoed = b""
        taken = 0
        sent = False
        async with asyncio.timeout(5):
            while echoed != b"through the tunnel":
                await client.until(lambda seen=taken: len(client.messages) > seen)
                for message in client.messages[taken:]:
                    for event in spdy.receive(message):
                        if isinstance(event, StreamBlock):
                            echoed += event.block
                taken = len(client.messages)
                if spdy.can_send(data) and not sent:
                    sent = True
                    spdy.send(data, b"through the tunnel")
                    await client.send(b"".join(spdy.take()))
