"""`cri-shim pod port-forward`: local ports whose connections go on to ports of a pod.

One WebSocket carries a SPDY connection, and that a pair of streams for each local connection: one for data, one on
which the server says why a connection failed. A failed connection ends alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cri.app.pod.stream_client import StreamClient, connect_stream
from cri.concurrency.together import first_cause
from cri.errors import CriError, InvalidArgument, Unavailable
from cri.stream import spdy_session as spdy
from cri.stream.buffer import Buffer
from cri.stream.errors import ProtocolError
from cri.stream.port_forward import HIGHEST_PORT, TUNNEL_PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BLOCK_BYTES: Final = 128 << 10


@dataclass(frozen=True, slots=True)
class Forward:
    """A local port and the pod's port behind it."""

    local: int
    """0 takes a free one."""
    remote: int


def parse_forward(text: str) -> Forward:
    """`PORT`, `LOCAL:REMOTE` or `:REMOTE`. Raises InvalidArgument."""
    local, colon, remote = text.rpartition(":")
    numbers = ((local or "0") if colon else remote, remote)
    if not all(number.isascii() and number.isdecimal() and int(number) <= HIGHEST_PORT for number in numbers):
        raise InvalidArgument(f"{text!r} is neither PORT nor LOCAL:REMOTE")
    if not int(remote):
        raise InvalidArgument(f"{text!r}: the pod's port cannot be 0")
    return Forward(int(numbers[0]), int(remote))


async def forward_ports(
    url: str, address: str, forwards: Sequence[Forward], say: Callable[[str], None]
) -> None:
    """Listen and forward until the server goes away (Unavailable) or the caller cancels.

    Raises Unavailable also when a local port cannot be had. `say` hears of listeners and failed connections.
    """
    try:
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect_stream(url, (TUNNEL_PROTOCOL,)))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            tunnel = Tunnel(client, say)
            for forward in forwards:
                server = await _listen(address, forward, tunnel, group)
                await stack.enter_async_context(server)
                host, port = server.sockets[0].getsockname()[:2]
                say(f"forwarding {host}:{port} -> {forward.remote}")
            await tunnel.run()
    except BaseExceptionGroup as failures:
        raise first_cause(failures) from None


async def _listen(address: str, forward: Forward, tunnel: Tunnel, group: asyncio.TaskGroup) -> asyncio.Server:
    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        group.create_task(tunnel.carry(forward.remote, reader, writer))

    try:
        return await asyncio.start_server(serve, address, forward.local)
    except OSError as error:
        raise Unavailable(f"cannot listen on {address} port {forward.local}: {error.strerror}") from None


@dataclass(slots=True)
class _Stream:
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    received: Buffer = field(default_factory=Buffer)
    sending: asyncio.Task[None] | None = None
    """Sends what the local client gives; nobody wants that any more once the stream is reset."""


class Tunnel:
    """The SPDY connection that all local connections share."""

    def __init__(self, client: StreamClient, say: Callable[[str], None]) -> None:
        self._client = client
        self._say = say
        self._session = spdy.SpdySession(spdy.Role.CLIENT)
        self._session.announce()
        self._streams: dict[int, _Stream] = {}
        self._requests = itertools.count()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Take in what the server sends; raises Unavailable when it is gone."""
        async for piece in self._client.pieces():
            try:
                events = self._session.receive(piece.block)
            except ProtocolError as error:
                raise Unavailable(f"the stream server broke its protocol: {error}") from None
            for event in events:
                await self._event(event)
            self._answer()
        raise Unavailable("the connection to the pod was lost")

    async def carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one local connection to its end."""
        headers = {"port": str(port), "requestid": str(next(self._requests))}
        opened: list[int] = []
        try:
            error_id = await self._open("error", headers, opened)
            self._session.end(error_id)
            data_id = await self._open("data", headers, opened)
            async with asyncio.TaskGroup() as group:
                if self._session.can_send(data_id):  # else it has been reset already
                    self._streams[data_id].sending = group.create_task(self._send(data_id, reader))
                await self._receive(data_id, writer)
            complaint = await self._streams[error_id].received.get()
            if complaint:
                self._say(f"port {port}: {complaint.decode(errors='replace')}")
        except* (OSError, CriError):
            pass  # one of the two sides is gone; if it is the server, `run` says so
        finally:
            for stream_id in opened:
                self._session.reset(stream_id)
                self._streams.pop(stream_id).received.close()
            self._answer()
            writer.close()

    async def _open(self, kind: str, headers: dict[str, str], opened: list[int]) -> int:
        stream_id = self._session.open({"streamtype": kind, **headers})
        opened.append(stream_id)
        stream = self._streams[stream_id] = _Stream()
        await self._flush()
        await stream.accepted.wait()
        return stream_id

    async def _send(self, stream_id: int, reader: asyncio.StreamReader) -> None:
        while block := await reader.read(BLOCK_BYTES):
            view = memoryview(block)
            while view and self._session.can_send(stream_id):
                room = self._session.room(stream_id)
                if not room:
                    self._room.clear()
                    await self._room.wait()
                    continue
                self._session.send(stream_id, view[:room])
                view = view[room:]
                await self._flush()
        self._session.end(stream_id)
        await self._flush()

    async def _receive(self, stream_id: int, writer: asyncio.StreamWriter) -> None:
        received = self._streams[stream_id].received
        while block := await received.get():
            writer.write(block)
            await writer.drain()
            self._session.consumed(stream_id, len(block))
            self._answer()
        if writer.can_write_eof():
            writer.write_eof()

    async def _event(self, event: spdy.SessionEvent) -> None:
        match event:
            case spdy.StreamAccepted(stream_id) if stream_id in self._streams:
                self._streams[stream_id].accepted.set()
            case spdy.StreamBlock(stream_id, block) if stream_id in self._streams:
                await self._streams[stream_id].received.put(block)
            case spdy.StreamEnded(stream_id) if stream_id in self._streams:
                self._streams[stream_id].received.end()
            case spdy.StreamReset(stream_id) if stream_id in self._streams:
                self._reset(self._streams[stream_id])
            case spdy.RoomMade():
                self._room.set()
            case _:
                pass

    def _reset(self, stream: _Stream) -> None:
        stream.accepted.set()
        stream.received.end()
        if stream.sending is not None:
            stream.sending.cancel()

    def _answer(self) -> None:
        """Send what the session has to say to what came, not waiting for the server: it may be waiting for us."""
        if blocks := self._session.take():
            self._client.post(b"".join(blocks))

    async def _flush(self) -> None:
        blocks = self._session.take()
        if blocks:
            await self._client.send(b"".join(blocks))
