"""Remote commands over WebSocket: channels 0 stdin, 1 stdout, 2 stderr, 3 error, 4 terminal sizes.

The channels are there from the start; an empty message on the first one that the server writes to tells the client
that the connection stands. Before version 5 input ends only with the connection. The client of version 5 takes no
CLOSE from the server: for it output ends when the connection is closed in good order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wsproto.frame_protocol import CloseReason

from cri.stream.channels import (
    ChannelBlock,
    ChannelEnded,
    ChannelEvent,
    ChannelReader,
    Coding,
    channel_message,
)
from cri.stream.errors import ProtocolError
from cri.stream.remote_command import (
    V5,
    Channel,
    ClientLeft,
    CommandEvent,
    Ready,
    Resized,
    StdinBlock,
    StdinEnded,
    Version,
)
from cri.stream.terminal_sizes import TerminalSizeReader
from cri.stream.websocket import Closed, WebSocket

if TYPE_CHECKING:
    from cri.stream.endpoints import Streams

STDIN: Final = 0
RESIZE: Final = 4
CHANNELS: Final[dict[Channel, int]] = {"stdout": 1, "stderr": 2, "error": 3}
MOST_BLOCK_BYTES: Final = 256 << 10
_LAST_CHANNEL: Final = RESIZE


class WebSocketRemoteCommand:
    """See RemoteCommandProtocol."""

    def __init__(self, version: Version, coding: Coding, streams: Streams) -> None:
        self.version = version
        self._coding = coding
        self._streams = streams
        self._socket = WebSocket()
        self._reader = ChannelReader(coding, closes=version is V5)
        self._sizes = TerminalSizeReader()
        self._stdin_ended = False
        self._events: list[CommandEvent] = [Ready()]
        self._wanted: dict[Channel, bool] = {
            "stdout": streams.stdout,
            "stderr": streams.stderr and not streams.terminal,
            "error": True,
        }
        first = next(channel for channel, wanted in self._wanted.items() if wanted)
        self._socket.send(channel_message(coding, CHANNELS[first], b""))

    def receive(self, data: bytes) -> list[CommandEvent]:
        """See RemoteCommandProtocol."""
        events, self._events = self._events, []
        for event in self._socket.receive(data):
            if isinstance(event, Closed):
                events.append(ClientLeft())
                continue
            try:
                for each in self._reader.feed(event):
                    self._channel_event(each, events)
            except ProtocolError as error:
                self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(error))
                raise
        return events

    def take(self) -> list[bytes]:
        """See RemoteCommandProtocol."""
        return self._socket.take()

    def room(self, channel: Channel) -> int:
        """See RemoteCommandProtocol. WebSocket has no windows; the limit is for short waits of other channels."""
        return MOST_BLOCK_BYTES

    def send(self, channel: Channel, block: bytes | memoryview) -> None:
        """See RemoteCommandProtocol."""
        if self._wanted[channel]:
            self._socket.send(channel_message(self._coding, CHANNELS[channel], bytes(block)))

    def end(self, channel: Channel) -> None:
        """See RemoteCommandProtocol. There is no such message towards clients."""

    def consumed(self, count: int) -> None:
        """See RemoteCommandProtocol."""

    def close(self) -> None:
        """See RemoteCommandProtocol."""
        self._socket.close()

    def _channel_event(self, event: ChannelEvent, events: list[CommandEvent]) -> None:
        match event:
            case ChannelBlock(channel, block) if channel == STDIN:
                if self._streams.stdin and not self._stdin_ended:
                    events.append(StdinBlock(block))
            case ChannelBlock(channel, block) if channel == RESIZE:
                events += [Resized(size) for size in self._sizes.feed(block)]
            case ChannelEnded(channel) if channel > _LAST_CHANNEL:
                raise ProtocolError(f"CLOSE for channel {channel}, which does not exist")
            case ChannelEnded(channel) if channel == STDIN:
                if not self._stdin_ended:
                    self._stdin_ended = True
                    events.append(StdinEnded())
            case _:
                pass  # content for channels that only the server writes to
