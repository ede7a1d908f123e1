"""Clients of the stream server for tests: HTTP upgrade, then SPDY or WebSocket, without any Kubernetes code."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from cri.stream import spdy_session as spdy
from cri.stream.websocket import Closed, MessagePiece, Role, WebSocket

KEY = base64.b64encode(bytes(range(16))).decode()


class Refusal(Exception):
    """The server's answer was not 101."""

    def __init__(self, status: int, headers: dict[str, list[str]], body: bytes) -> None:
        super().__init__(status, body)
        self.status, self.headers, self.body = status, headers, body


async def upgrade(
    url: str,
    headers: dict[str, str],
    method: str = "GET",
    context: ssl.SSLContext | None = None,
    path: str | None = None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, dict[str, list[str]]]:
    """Connect and upgrade; the headers of the answer by lower-case name."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context, limit=1 << 20)
    sent = {"Host": parts.netloc, **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    writer.write(f"{method} {path or parts.path} HTTP/1.1\r\n{head}\r\n".encode())
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(lines[0].split()[1])
        answer: dict[str, list[str]] = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            answer.setdefault(name.lower(), []).append(value.strip())
        if status != 101:
            raise Refusal(status, answer, await reader.read())
    except BaseException:
        writer.close()
        raise
    return reader, writer, answer


class SpdyClient:
    """Streams by id; what comes is collected and can be waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str) -> None:
        self.session = spdy.SpdySession(spdy.Role.CLIENT)
        self.protocol = protocol
        self.received: dict[int, bytearray] = {}
        self.accepted: set[int] = set()
        self.ended: list[int] = []
        """Streams whose server half ended, in order."""
        self.reset: list[int] = []
        self.closed = False
        self.counts = True
        """Whether window updates are sent, which Kubernetes' clients do not."""
        self.heeds = True
        """Whether the server's windows are kept to, which Kubernetes' clients do not."""
        self.paused = asyncio.Event()
        self.paused.set()
        self._reader, self._writer = reader, writer
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls, url: str, protocols: str = "v4.channel.k8s.io", context: ssl.SSLContext | None = None
    ) -> AsyncIterator[SpdyClient]:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "SPDY/3.1",
            "X-Stream-Protocol-Version": protocols,
            "Content-Length": "0",
        }
        reader, writer, answer = await upgrade(url, headers, "POST", context)
        client = cls(reader, writer, answer["x-stream-protocol-version"][0])
        async with asyncio.TaskGroup() as group:
            client._task = group.create_task(client._read())
            try:
                yield client
            finally:
                client._task.cancel()
                client.vanish()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def open(self, **headers: str) -> int:
        """Open a stream and wait until it is accepted."""
        stream_id = self.session.open(headers)
        self.received[stream_id] = bytearray()
        self.flush()
        await self.until(lambda: stream_id in self.accepted or stream_id in self.reset or self.closed)
        return stream_id

    async def send(self, stream_id: int, data: bytes) -> None:
        """Send as the windows allow, if they are heeded."""
        view = memoryview(data)
        while view:
            room = self.session.room(stream_id) if self.heeds else len(view)
            if not room:
                assert not self.closed, "the server closed while data was to be sent"
                assert self.session.can_send(stream_id), "the stream was ended while data was to be sent"
                await self._change()
                continue
            self.session.send(stream_id, view[: min(room, 32768)])
            view = view[min(room, 32768) :]
            self.flush()
            if self.heeds:
                await self._writer.drain()

    def end(self, stream_id: int) -> None:
        self.session.end(stream_id)
        self.flush()

    def flush(self) -> None:
        blocks = self.session.take()
        if not self.counts:
            blocks = [block for block in blocks if block[:4] != b"\x80\x03\x00\x09"]
        with contextlib.suppress(OSError):
            self._writer.writelines(blocks)

    def vanish(self) -> None:
        """Go without a word."""
        self._writer.close()

    async def until(self, true, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await self._change()

    async def content(self, stream_id: int, seconds: float = 10.0) -> bytes:
        """Everything on a stream up to its end."""
        await self.until(lambda: stream_id in self.ended or stream_id in self.reset or self.closed, seconds)
        return bytes(self.received[stream_id])

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _read(self) -> None:
        while True:
            await self.paused.wait()
            try:
                data = await self._reader.read(1 << 20)
            except OSError:
                data = b""
            if not data:
                break
            for event in self.session.receive(data):
                match event:
                    case spdy.StreamAccepted(stream_id):
                        self.accepted.add(stream_id)
                    case spdy.StreamBlock(stream_id, block):
                        self.received[stream_id] += block
                        self.session.consumed(stream_id, len(block))
                    case spdy.StreamEnded(stream_id):
                        self.ended.append(stream_id)
                    case spdy.StreamReset(stream_id):
                        self.reset.append(stream_id)
                    case _:
                        pass
            self.flush()
            self._changed.set()
        self.closed = True
        self._changed.set()


class SocketClient:
    """Channels of a WebSocket; what comes is collected and can be waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str) -> None:
        self.socket = WebSocket(Role.CLIENT)
        self.protocol = protocol
        self.messages: list[bytes] = []
        self.close_code: int | None = None
        self.closed = False
        self._reader, self._writer = reader, writer
        self._changed = asyncio.Event()
        self._partial = b""

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls, url: str, protocols: str = "v5.channel.k8s.io", context: ssl.SSLContext | None = None
    ) -> AsyncIterator[SocketClient]:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
        }
        if protocols:
            headers["Sec-WebSocket-Protocol"] = protocols
        reader, writer, answer = await upgrade(url, headers, "GET", context)
        client = cls(reader, writer, answer.get("sec-websocket-protocol", [""])[0])
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client._read())
            try:
                yield client
            finally:
                task.cancel()
                client.vanish()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def content(self, channel: int) -> bytes:
        """Everything that has come on a channel."""
        return b"".join(message[1:] for message in self.messages if message[0] == channel)

    async def send(self, message: bytes | str) -> None:
        self.socket.send(message)
        await self.flush()

    async def flush(self) -> None:
        self._writer.writelines(self.socket.take())
        await self._writer.drain()

    def vanish(self) -> None:
        self._writer.close()

    async def until(self, true, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def _read(self) -> None:
        while True:
            try:
                data = await self._reader.read(1 << 20)
            except OSError:
                data = b""
            if not data:
                break
            for event in self.socket.receive(data):
                match event:
                    case MessagePiece(block, last):
                        self._partial += block
                        if last:
                            self.messages.append(self._partial)
                            self._partial = b""
                    case Closed(code):
                        self.close_code = code
            self._writer.writelines(self.socket.take())
            self._changed.set()
        self.closed = True
        self._changed.set()


def abandon(writer: asyncio.StreamWriter) -> None:
    """Close so that the server sees a reset instead of an end."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER
    os.close(os.dup(raw.fileno()))
    writer.transport.abort()
