"""Remote commands over SPDY: one stream for each purpose, told by its header `streamtype`.

The client opens its streams one after the other and waits for the answer to each, so each is answered at once. A
stream that was not asked for (stderr beside a terminal, say) is accepted and ended, because a refusal makes clients
give up; an unknown or a second one of a kind is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from cri.stream import spdy_session as spdy
from cri.stream.remote_command import (
    Channel,
    CommandEvent,
    Ready,
    Resized,
    RoomMade,
    StdinBlock,
    StdinEnded,
    Version,
)
from cri.stream.spdy_frames import MOST_DATA_BYTES, ResetStatus
from cri.stream.terminal_sizes import TerminalSizeReader

if TYPE_CHECKING:
    from cri.stream.endpoints import Streams

StreamType = Literal["error", "stdin", "stdout", "stderr", "resize"]
STREAM_TYPE_HEADER: Final = "streamtype"
_KNOWN: Final[dict[str, StreamType]] = {name: name for name in get_args(StreamType)}


def wanted_types(streams: Streams, version: Version) -> frozenset[StreamType]:
    """The streams that a client must open before the command begins."""
    conditions: dict[StreamType, bool] = {
        "error": True,
        "stdin": streams.stdin,
        "stdout": streams.stdout,
        "stderr": streams.stderr and not streams.terminal,
        "resize": streams.terminal and version.sizes,
    }
    return frozenset(kind for kind, wanted in conditions.items() if wanted)


class SpdyRemoteCommand:
    """See RemoteCommandProtocol."""

    def __init__(self, version: Version, streams: Streams) -> None:
        self.version = version
        self._session = spdy.SpdySession(spdy.Role.SERVER)
        self._wanted = wanted_types(streams, version)
        self._ids: dict[StreamType, int] = {}
        self._sizes = TerminalSizeReader()
        self._stdin_ended = False

    def receive(self, data: bytes) -> list[CommandEvent]:
        """See RemoteCommandProtocol."""
        events: list[CommandEvent] = []
        for event in self._session.receive(data):
            self._event(event, events)
        return events

    def take(self) -> list[bytes]:
        """See RemoteCommandProtocol."""
        return self._session.take()

    def room(self, channel: Channel) -> int:
        """See RemoteCommandProtocol."""
        stream_id = self._ids.get(channel, 0)
        return self._session.room(stream_id) if self._session.can_send(stream_id) else MOST_DATA_BYTES

    def send(self, channel: Channel, block: bytes | memoryview) -> None:
        """See RemoteCommandProtocol."""
        stream_id = self._ids.get(channel, 0)
        if self._session.can_send(stream_id):
            self._session.send(stream_id, block)

    def end(self, channel: Channel) -> None:
        """See RemoteCommandProtocol."""
        self._session.end(self._ids.get(channel, 0))

    def consumed(self, count: int) -> None:
        """See RemoteCommandProtocol."""
        self._session.consumed(self._ids.get("stdin", 0), count)

    def close(self) -> None:
        """See RemoteCommandProtocol. Also ends our half of stdin, which tells clients to stop sending."""
        for stream_id in self._ids.values():
            self._session.end(stream_id)
        self._session.leave()

    def _event(self, event: spdy.SessionEvent, events: list[CommandEvent]) -> None:
        match event:
            case spdy.StreamOffered():
                self._offered(event, events)
            case spdy.StreamBlock():
                self._block(event, events)
            case spdy.StreamEnded() | spdy.StreamReset():
                if event.stream_id == self._ids.get("stdin") and not self._stdin_ended:
                    self._stdin_ended = True
                    events.append(StdinEnded())
                elif isinstance(event, spdy.StreamReset):
                    events.append(RoomMade())  # whoever waits to send on it may drop it now
            case spdy.RoomMade():
                events.append(RoomMade())
            case _:
                pass  # a peer that opens no more streams goes on with those that it has

    def _offered(self, event: spdy.StreamOffered, events: list[CommandEvent]) -> None:
        kind = _KNOWN.get(event.headers.get(STREAM_TYPE_HEADER, ""))
        if kind is None or kind in self._ids:
            self._session.reset(event.stream_id, ResetStatus.REFUSED_STREAM)
            return
        self._ids[kind] = event.stream_id
        self._session.accept(event.stream_id)
        if kind not in self._wanted:
            self._session.end(event.stream_id)
        elif self._wanted <= self._ids.keys():
            events.append(Ready())

    def _block(self, event: spdy.StreamBlock, events: list[CommandEvent]) -> None:
        if event.stream_id == self._ids.get("stdin") and "stdin" in self._wanted:
            events.append(StdinBlock(event.block))
            return
        self._session.consumed(event.stream_id, len(event.block))
        if event.stream_id == self._ids.get("resize"):
            events += [Resized(size) for size in self._sizes.feed(event.block)]
