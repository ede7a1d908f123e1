"""SPDY port forwarding inside of a WebSocket: the bytes of the SPDY connection as the content of binary messages.

Where messages begin and end means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsproto.frame_protocol import CloseReason

from cri.stream.errors import ProtocolError
from cri.stream.port_forward import ClientLeft
from cri.stream.spdy_port_forward import SpdyPortForward
from cri.stream.websocket import Closed, WebSocket

if TYPE_CHECKING:
    from cri.stream.port_forward import ForwardEvent


class TunnelledPortForward(SpdyPortForward):
    """See PortForwardProtocol."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = WebSocket()

    def receive(self, data: bytes) -> list[ForwardEvent]:
        """See PortForwardProtocol."""
        events: list[ForwardEvent] = []
        for event in self._socket.receive(data):
            if isinstance(event, Closed):
                events.append(ClientLeft())
                continue
            try:
                events += super().receive(event.block)
            except ProtocolError as error:
                self._wrap()
                self._socket.close(CloseReason.PROTOCOL_ERROR, str(error))
                raise
        return events

    def take(self) -> list[bytes]:
        """See PortForwardProtocol."""
        self._wrap()
        return self._socket.take()

    def close(self) -> None:
        """See PortForwardProtocol."""
        super().close()
        self._wrap()
        self._socket.close()

    def _wrap(self) -> None:
        blocks = super().take()
        if blocks:
            self._socket.send(b"".join(blocks))
