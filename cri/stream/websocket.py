"""A WebSocket connection after its handshake, by wsproto: pings answered, closing kept in order. Bytes in, events out.

Messages are passed on in the pieces in which they come, so a message of any length takes no memory here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import wsproto.events as ws
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.frame_protocol import CloseReason

from cri.stream.errors import ProtocolError


class Role(enum.Enum):
    """Which side of the connection this is."""

    CLIENT = ConnectionType.CLIENT
    SERVER = ConnectionType.SERVER


@dataclass(frozen=True, slots=True)
class MessagePiece:
    """A part of a message, text as UTF-8."""

    block: bytes
    last: bool
    """The message ends with it."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer has closed the connection; our answer is among what is to be sent."""

    code: int


WebSocketEvent = MessagePiece | Closed
_OPEN: Final = ConnectionState.OPEN


class WebSocket:
    """One side of a connection. After a ProtocolError `take` still gives the farewell to the peer."""

    def __init__(self, role: Role = Role.SERVER) -> None:
        self._connection = Connection(role.value)
        self._ended = False
        self._out: list[bytes] = []

    def receive(self, data: bytes) -> list[WebSocketEvent]:
        """What came of `data`; nothing after a Closed. Raises ProtocolError for what is no WebSocket."""
        events: list[WebSocketEvent] = []
        if self._ended:
            return events
        self._connection.receive_data(data)
        for event in self._connection.events():
            match event:
                case ws.BytesMessage():
                    events.append(MessagePiece(bytes(event.data), event.message_finished))
                case ws.TextMessage():
                    events.append(MessagePiece(event.data.encode(), event.message_finished))
                case ws.Ping():
                    if self._connection.state is _OPEN:
                        self._out.append(self._connection.send(event.response()))
                case ws.CloseConnection():
                    self._ended = True
                    events.append(self._closing(event))
                case _:
                    pass
        return events

    def send(self, payload: bytes | str) -> None:
        """Send a message, binary or text. Dropped when the connection is closing."""
        if self._connection.state is _OPEN:
            message = ws.BytesMessage(payload) if isinstance(payload, bytes) else ws.TextMessage(payload)
            self._out.append(self._connection.send(message))

    def close(self, code: int = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin to close, or answer that the peer does. Idempotent."""
        if self._connection.state in (_OPEN, ConnectionState.REMOTE_CLOSING):
            self._out.append(self._connection.send(ws.CloseConnection(code, reason or None)))

    def take(self) -> list[bytes]:
        """What is to be sent, in order; each block is given once."""
        out, self._out = self._out, []
        return out

    def _closing(self, event: ws.CloseConnection) -> Closed:
        if self._connection.state is _OPEN:  # wsproto's way to say that the peer broke the protocol
            self.close(event.code, event.reason or "")
            raise ProtocolError(f"WebSocket: {event.reason}")
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._out.append(self._connection.send(event.response()))
        return Closed(event.code)
