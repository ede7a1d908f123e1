"""Port forwarding over WebSocket channels: for the n-th port of the request channel 2n for data, 2n + 1 for errors.

The ports are those of the CRI request, one connection each. The server begins each channel with the port as two bytes,
the low one first. There is no half-close: a connection is over when the pod closes it, the session when all are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wsproto.frame_protocol import CloseReason

from cri.stream import port_forward as forward
from cri.stream.channels import ChannelBlock, ChannelReader, Coding, channel_message
from cri.stream.errors import ProtocolError
from cri.stream.websocket import Closed, WebSocket

if TYPE_CHECKING:
    from cri.stream.port_forward import ForwardEvent

MOST_PORTS: Final = 100
MOST_BLOCK_BYTES: Final = 256 << 10


class WebSocketPortForward:
    """See PortForwardProtocol. The key of a connection is its data channel."""

    half_close = False
    endless = False

    def __init__(self, coding: Coding, ports: tuple[int, ...]) -> None:
        self._coding = coding
        self._socket = WebSocket()
        self._reader = ChannelReader(coding, closes=False)
        self._open = {2 * number for number in range(len(ports))}
        self._events: list[ForwardEvent] = []
        for number, port in enumerate(ports):
            greeting = port.to_bytes(2, "little")
            self._message(2 * number, greeting)
            self._message(2 * number + 1, greeting)
            self._events.append(forward.Requested(2 * number, port))

    def receive(self, data: bytes) -> list[ForwardEvent]:
        """See PortForwardProtocol."""
        events, self._events = self._events, []
        for event in self._socket.receive(data):
            if isinstance(event, Closed):
                events.append(forward.ClientLeft())
                continue
            try:
                for each in self._reader.feed(event):
                    if isinstance(each, ChannelBlock) and each.channel in self._open:
                        events.append(forward.Block(each.channel, each.block))
            except ProtocolError as error:
                self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(error))
                raise
        return events

    def take(self) -> list[bytes]:
        """See PortForwardProtocol."""
        return self._socket.take()

    def room(self, key: int) -> int:
        """See PortForwardProtocol. WebSocket has no windows."""
        return MOST_BLOCK_BYTES

    def send(self, key: int, block: bytes | memoryview) -> None:
        """See PortForwardProtocol."""
        if key in self._open:
            self._message(key, bytes(block))

    def end(self, key: int) -> None:
        """See PortForwardProtocol. There is no such message."""

    def finish(self, key: int) -> None:
        """See PortForwardProtocol."""
        self._open.discard(key)

    def fail(self, key: int, message: str) -> None:
        """See PortForwardProtocol."""
        self._open.discard(key)
        self._message(key + 1, message.encode())

    def abort(self, key: int) -> None:
        """See PortForwardProtocol."""
        self._open.discard(key)

    def sweep(self) -> None:
        """See PortForwardProtocol. Nothing is ever half there."""

    def consumed(self, key: int, count: int) -> None:
        """See PortForwardProtocol."""

    def close(self) -> None:
        """See PortForwardProtocol."""
        self._socket.close()

    def _message(self, channel: int, block: bytes) -> None:
        self._socket.send(channel_message(self._coding, channel, block))
