"""The client's side of a stream URL: connect, upgrade to WebSocket, exchange messages.

The URL comes over the CRI socket, which is root's, so it is trusted; a certificate that the server has made for itself
is taken as it is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import h11
from wsproto.utilities import generate_accept_token

from cri.errors import Unavailable
from cri.stream.errors import ProtocolError
from cri.stream.websocket import MessagePiece, Role, WebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

BLOCK_BYTES: Final = 256 << 10
CONNECT_SECONDS: Final = 30.0
FAREWELL_SECONDS: Final = 2.0
"""How long a server that does not read is waited for at the end."""


class StreamClient:
    """A WebSocket whose messages are sent whole and received in pieces."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str, first: bytes
    ) -> None:
        self.protocol = protocol
        """The subprotocol that the server chose."""
        self._reader = reader
        self._writer = writer
        self._first = first
        self._socket = WebSocket(Role.CLIENT)

    async def send(self, message: bytes) -> None:
        """Send a binary message, waiting while the server is slow. Raises Unavailable when the connection is lost."""
        self.post(message)
        await self._drained()

    def post(self, message: bytes) -> None:
        """Send a binary message without waiting: for answers to what was read.

        Who reads must not wait for the server to read: it may be waiting for us to do so, and both would for ever.
        """
        self._socket.send(message)
        self._writer.writelines(self._socket.take())

    async def pieces(self) -> AsyncIterator[MessagePiece]:
        """What the server sends, until it closes. Raises Unavailable for what is no WebSocket."""
        data = self._first
        while True:
            try:
                events = self._socket.receive(data)
            except ProtocolError as error:
                raise Unavailable(f"the stream server broke its protocol: {error}") from None
            for event in events:
                if isinstance(event, MessagePiece):
                    yield event
            self._writer.writelines(self._socket.take())
            try:
                data = await self._reader.read(BLOCK_BYTES)
            except OSError as error:
                raise Unavailable(f"the connection to the stream server broke: {error}") from None
            if not data:
                return

    async def close(self) -> None:
        """Close in good order, as far as the server is still there and reads."""
        self._socket.close()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                self._writer.writelines(self._socket.take())
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    async def _drained(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise Unavailable(f"the connection to the stream server broke: {error}") from None


@contextlib.asynccontextmanager
async def connect_stream(url: str, protocols: Sequence[str]) -> AsyncIterator[StreamClient]:
    """Connect to a stream URL with the first of `protocols` that the server knows. Raises Unavailable."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if parts.scheme == "https" else None
    if context is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port, ssl=context, limit=BLOCK_BYTES
            )
            try:
                protocol, first = await _upgrade(reader, writer, parts.netloc, parts.path, protocols)
            except BaseException:
                writer.close()
                raise
    except (OSError, h11.RemoteProtocolError) as error:
        raise Unavailable(
            f"the stream server at {parts.netloc} does not answer: {error or type(error).__name__}"
        ) from None
    client = StreamClient(reader, writer, protocol, first)
    try:
        yield client
    finally:
        await client.close()


async def _upgrade(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    path: str,
    protocols: Sequence[str],
) -> tuple[str, bytes]:
    """The protocol that the server chose, and what it has sent behind its answer already."""
    http = h11.Connection(h11.CLIENT)
    key = base64.b64encode(os.urandom(16))
    headers = [
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.decode()),
        ("Sec-WebSocket-Protocol", ", ".join(protocols)),
    ]
    request = http.send(h11.Request(method="GET", target=path, headers=headers)) or b""
    writer.write(request + (http.send(h11.EndOfMessage()) or b""))
    answer: h11.InformationalResponse | h11.Response | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(BLOCK_BYTES))
        elif isinstance(event, h11.InformationalResponse):
            found = dict(event.headers.raw_items())
            named = {name.lower(): value for name, value in found.items()}
            if named.get(b"sec-websocket-accept") != generate_accept_token(key):
                raise Unavailable(f"the stream server at {host} did not agree to a WebSocket")
            return named.get(b"sec-websocket-protocol", b"").decode("ascii"), http.trailing_data[0]
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            status = answer.status_code if answer is not None else "no answer"
            raise Unavailable(
                f"the stream server refused ({status}): {body.decode(errors='replace').strip()}"
            )
