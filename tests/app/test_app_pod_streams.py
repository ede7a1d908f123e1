"""The streaming commands of the pod tool against the real stream server, with processes in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import socket
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
import pytest_asyncio
from wsproto.utilities import generate_accept_token

from cri.app.pod.port_forward import Forward, Tunnel, forward_ports, parse_forward
from cri.app.pod.remote_command import exit_code, run_remote_command
from cri.app.pod.standard_input import standard_input
from cri.app.pod.stream_client import StreamClient, connect_stream
from cri.app.pod.terminal import raw_terminal
from cri.concurrency.supervision import Supervisor
from cri.errors import CriError, FailedPrecondition, Internal, InvalidArgument, Unavailable
from cri.stream import spdy_frames as frames
from cri.stream.endpoints import AttachCall, ExecCall, PortForwardCall, Streams
from cri.stream.server import StreamServer
from cri.stream.settings import StreamSettings
from cri.stream.spdy_session import FIRST_WINDOW, Role, SpdySession, StreamOffered
from cri.stream.websocket import MessagePiece
from tests.stream.stream_fakes import FakeContainer, FakeProcess, LoopbackDialler, fake_exec

ALL = Streams(stdin=True, stdout=True, stderr=True)


@pytest_asyncio.fixture(params=[False, True], ids=["plain", "tls"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[StreamServer]:
    made = StreamServer(StreamSettings(enable_tls_streaming=request.param))
    await made.start()
    async with Supervisor() as supervisor:
        supervisor.keep("streams", made.run)
        yield made
    made.close()


def given_input(monkeypatch: pytest.MonkeyPatch, *blocks: bytes) -> None:
    async def blocks_of() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    monkeypatch.setattr("cri.app.pod.remote_command.standard_input", blocks_of)


async def cat(process: FakeProcess) -> int:
    while block := await process.stdin.get():
        await process.write(block)
    await process.write(b"problem\n", "stderr")
    return 4


async def test_exec(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
):
    given_input(monkeypatch, b"one ", b"two")
    call, _ = fake_exec(cat, ALL)
    assert await run_remote_command(server.url(call), stdin=True, terminal=False) == 4
    written = capfdbinary.readouterr()
    assert written.out.endswith(b"one two")
    assert written.err == b"problem\n"


async def test_a_command_that_cannot_be_started(server: StreamServer):
    def start():
        raise FailedPrecondition("no such program")

    with pytest.raises(Internal, match="no such program"):
        await run_remote_command(server.url(ExecCall(ALL, start)), stdin=False, terminal=False)


async def test_attach_until_the_container_ends(
    server: StreamServer, capfdbinary: pytest.CaptureFixture[bytes]
):
    container = FakeContainer()
    for item in (("stdout", b"live"), None):
        container.live.put_nowait(item)
    call = AttachCall(Streams(stdout=True), container.attach)
    assert await run_remote_command(server.url(call), stdin=False, terminal=False) == 0
    assert capfdbinary.readouterr().out.endswith(b"live")


async def test_a_url_that_is_not_good_any_more(server: StreamServer):
    call, _ = fake_exec(cat, ALL)
    url = server.url(call)
    async with connect_stream(url, ("v5.channel.k8s.io",)):
        pass
    with pytest.raises(Unavailable, match=r"404.*one use"):
        await run_remote_command(url, stdin=False, terminal=False)


async def test_nobody_there():
    with pytest.raises(Unavailable, match="does not answer"):
        await run_remote_command("http://127.0.0.1:9/exec/x", stdin=False, terminal=False)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (b'{"status":"Success"}', 0),
        (b'{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}', 7),
        (b'{"status":"Failure","message":"broken"}', Internal("broken")),
        (b"plain text", Internal("plain text")),
        (b"[]", Internal("[]")),
        (b"", Unavailable("the connection ended before the command did")),
    ],
)
def test_statuses(status: bytes, expected: int | CriError):
    if isinstance(expected, int):
        assert exit_code(status) == expected
        return
    with pytest.raises(type(expected)) as caught:
        exit_code(status)
    assert caught.value.message == expected.message


async def test_standard_input_of_any_kind(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    assert b"".join([block async for block in standard_input(reader)]) == b"from a pipe"
    os.close(reader)
    file = tmp_path / "input"
    file.write_bytes(b"x" * 300_000)
    descriptor = os.open(file, os.O_RDONLY)
    assert b"".join([block async for block in standard_input(descriptor)]) == b"x" * 300_000
    os.close(descriptor)


def test_the_terminal_is_restored():
    main, other = pty.openpty()
    before = termios.tcgetattr(other)
    with contextlib.suppress(RuntimeError), raw_terminal(other):
        assert termios.tcgetattr(other) != before
        raise RuntimeError
    assert termios.tcgetattr(other) == before
    os.close(main)
    os.close(other)
    reader, writer = os.pipe()
    with pytest.raises(InvalidArgument, match="not a terminal"), raw_terminal(reader):
        pass
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", Forward(80, 80)),
        ("8080:80", Forward(8080, 80)),
        (":80", Forward(0, 80)),
        ("0:80", Forward(0, 80)),
    ],
)
def test_ports(text: str, expected: Forward):
    assert parse_forward(text) == expected


@pytest.mark.parametrize("text", ["", "x", "80:", "80:0", "0", "1:2:3", "70000", "-1"])
def test_what_are_no_ports(text: str):
    with pytest.raises(InvalidArgument):
        parse_forward(text)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65536):
        writer.write(block)
        await writer.drain()
    writer.close()


class Said:
    """What a command has said so far."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._heard = asyncio.Event()

    def __call__(self, line: str) -> None:
        self._lines.append(line)
        self._heard.set()

    async def until(self, words: str) -> str:
        """The first line with these words."""
        async with asyncio.timeout(10):
            while True:
                for line in self._lines:
                    if words in line:
                        return line
                self._heard.clear()
                await self._heard.wait()

    async def port(self, remote: int) -> int:
        """The local port of a forward."""
        return int((await self.until(f"-> {remote}")).split(":")[1].split(" ")[0])


@contextlib.asynccontextmanager
async def forwarding(server: StreamServer, *remotes: int) -> AsyncIterator[Said]:
    """The command, with a free local port for each port behind it."""
    said = Said()
    url = server.url(PortForwardCall(LoopbackDialler()))
    forwards = [Forward(0, remote) for remote in remotes]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(forward_ports(url, "127.0.0.1", forwards, said))
        yield said
        running.cancel()


@contextlib.asynccontextmanager
async def pod_port(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as pod:
        yield pod.sockets[0].getsockname()[1]


async def echoed(port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    writer.write_eof()
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


async def test_port_forward(server: StreamServer):
    async with pod_port(echo) as remote, forwarding(server, remote, 9) as said:
        port, refused = await said.port(remote), await said.port(9)
        content = bytes(range(256)) * 8192
        for _ in range(3):
            assert await echoed(port, content) == content
        assert await echoed(refused, b"") == b""
        await said.until("port 9 cannot be reached")


async def test_much_through_two_connections_at_once(server: StreamServer):
    content = bytes(range(256)) * (32 << 10)
    async with pod_port(echo) as remote, forwarding(server, remote) as said, asyncio.timeout(30):
        port = await said.port(remote)
        assert await asyncio.gather(echoed(port, content), echoed(port, content)) == [content, content]


async def test_a_local_client_that_does_not_read_holds_up_its_own_connection_only(server: StreamServer):
    """The pod has had no update of a window when it begins to pour."""
    poured = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while not reader.at_eof():
                writer.write(bytes(1 << 20))
                await writer.drain()
                poured.set()
        writer.close()

    async with (
        pod_port(pour) as pouring,
        pod_port(echo) as remote,
        forwarding(server, pouring, remote) as said,
        asyncio.timeout(30),
    ):
        local = socket.socket()
        local.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        local.connect(("127.0.0.1", await said.port(pouring)))
        await poured.wait()
        for _ in range(5):
            assert await echoed(await said.port(remote), b"alive") == b"alive"
        local.close()


async def test_a_pod_that_resets_after_its_end_ends_the_local_connection(server: StreamServer):
    """The server hears of it when it has something for the pod; from then on nobody takes what the client sends."""
    seen = asyncio.Event()

    async def end_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await seen.wait()
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()

    async with pod_port(end_and_reset) as remote, forwarding(server, remote) as said:
        port = await said.port(remote)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        seen.set()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()


class DeafServer:
    """In a StreamClient's place: takes the first messages, and then no more as far as the tool waits for that."""

    def __init__(self) -> None:
        self.session = SpdySession(Role.SERVER)
        self.settings: list[frames.Settings] = []
        self.opened: asyncio.Queue[int] = asyncio.Queue()
        self.deaf = False
        self._pieces: asyncio.Queue[MessagePiece] = asyncio.Queue()

    async def send(self, message: bytes) -> None:
        self.post(message)
        if self.deaf:
            await asyncio.get_running_loop().create_future()

    def post(self, message: bytes) -> None:
        self.settings += [f for f in frames.FrameReader().feed(message) if isinstance(f, frames.Settings)]
        for event in self.session.receive(message):
            if isinstance(event, StreamOffered):
                self.session.accept(event.stream_id)
                self.opened.put_nowait(event.stream_id)
        self.say()

    def say(self) -> None:
        self._pieces.put_nowait(MessagePiece(b"".join(self.session.take()), last=True))

    async def pieces(self) -> AsyncIterator[MessagePiece]:
        while True:
            yield await self._pieces.get()


async def test_a_local_client_reads_on_while_the_server_does_not():
    """Each window's update is something that the server may not read before we have read on."""
    server = DeafServer()
    tunnel = Tunnel(cast("StreamClient", server), print)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    local, local_writer = await asyncio.open_connection(sock=theirs)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [group.create_task(tunnel.run()), group.create_task(tunnel.carry(80, reader, writer))]
        await server.opened.get()
        data_id = await server.opened.get()
        assert server.settings, "the server knows from the beginning that the tool counts"
        server.deaf = True
        local_writer.write(b"nobody takes this")
        for _ in range(50):
            assert server.session.room(data_id) >= FIRST_WINDOW
            server.session.send(data_id, bytes(FIRST_WINDOW))
            server.say()
            await local.readexactly(FIRST_WINDOW)
        for task in tasks:
            task.cancel()
    local_writer.close()


async def test_a_local_port_that_is_taken(server: StreamServer):
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        url = server.url(PortForwardCall(LoopbackDialler()))
        with pytest.raises(Unavailable, match="cannot listen"):
            await forward_ports(url, "127.0.0.1", (Forward(port, 80),), print)


async def test_reading_goes_on_while_the_server_does_not_read():
    """Each ping asks for an answer, which nobody takes."""
    read_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert key is not None
        accept = generate_accept_token(key[1])
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        writer.write(b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: p\r\n\r\n" % accept)
        writer.transport.pause_reading()
        writer.write((b"\x89\x7d" + bytes(125)) * 40_000 + b"\x82\x03end")
        await read_on.wait()
        writer.transport.abort()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with await asyncio.start_server(serve, sock=listener):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/exec/token"
        async with asyncio.timeout(10), connect_stream(url, ("p",)) as client:
            assert (await anext(client.pieces())).block == b"end"
            read_on.set()
