"""A SPDY/3.1 connection: streams, their states, flow control, pings, and the end of it. Bytes in, events out.

A stream is two halves, ours and the peer's, each of which ends with a FIN; a reset ends both. A peer's stream is
OFFERED until it is accepted or refused, one of ours is REQUESTED until the peer has answered. What may happen to a
stream in which state is the table `STEPS`; a step that is not in it is the peer's mistake (the stream is reset) or
ours (ValueError). Ended streams are forgotten, so memory is bounded by `MOST_STREAMS`.

Flow control has two windows in each direction, one a stream and one for the connection. Kubernetes' clients neither
send window updates nor heed them: they take what TCP lets through. A server that kept to the window that SPDY starts
with would wait for ever after 64 KiB. So the windows bind us only from the moment the peer shows that it counts, by a
window update or by a setting of the initial window; until then `room` is unlimited. Between two sessions of ours that
is from the first byte: the client begins with `announce`, and the server answers with the same. In the other direction
a peer that exceeds its window is not punished, because the transport stops reading anyway while blocks wait to be
consumed. But then the windows bind us no more, for good: the peer's updates may be behind what it has sent too much,
and if a pod takes that only while we take what the pod sends, both sides would wait for ever.

Updates are sent in large steps, so that a peer that counts is never held up: for a stream as its blocks are consumed,
for the connection as they come. A stream that nobody reads, or that ends with blocks unread, then takes nothing of what
the others may send.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cri.stream import spdy_frames as frames
from cri.stream.errors import ProtocolError
from cri.stream.spdy_frames import GoAwayStatus, ResetStatus
from cri.stream.spdy_headers import HeaderCompressor, HeaderDecompressor, MalformedHeadersError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_STREAMS: Final = 4096
FIRST_WINDOW: Final = 64 << 10
"""What either side may send before the first update, on a stream and on the connection (SPDY/3.1, 2.6.8)."""
OUR_WINDOW: Final = 1 << 20
"""What we let a peer that counts have under way."""
LARGEST_WINDOW: Final = 0x7FFF_FFFF
_LARGEST_ID: Final = 0x7FFF_FFFF


class Role(enum.Enum):
    """Which side of the connection this is; the value is its first stream id."""

    CLIENT = 1
    SERVER = 2


class StreamState(enum.Enum):
    """Where a stream stands."""

    OFFERED = "opened by the peer, not yet answered"
    OFFERED_ENDED = "opened by the peer, which has also ended its half"
    REQUESTED = "opened by us, not yet answered"
    OPEN = "both halves are open"
    OURS_ENDED = "we have ended our half"
    THEIRS_ENDED = "the peer has ended its half"
    CLOSED = "over"


class Step(enum.Enum):
    """What can happen to a stream."""

    ANSWER = "it is accepted"
    END_OURS = "we send a FIN"
    END_THEIRS = "the peer sends a FIN"
    BLOCK_OURS = "we send data"
    BLOCK_THEIRS = "the peer sends data"


STEPS: Final[dict[StreamState, dict[Step, StreamState]]] = {
    StreamState.OFFERED: {
        Step.ANSWER: StreamState.OPEN,
        Step.END_THEIRS: StreamState.OFFERED_ENDED,
        Step.BLOCK_THEIRS: StreamState.OFFERED,
    },
    StreamState.OFFERED_ENDED: {Step.ANSWER: StreamState.THEIRS_ENDED},
    StreamState.REQUESTED: {Step.ANSWER: StreamState.OPEN},
    StreamState.OPEN: {
        Step.END_OURS: StreamState.OURS_ENDED,
        Step.END_THEIRS: StreamState.THEIRS_ENDED,
        Step.BLOCK_OURS: StreamState.OPEN,
        Step.BLOCK_THEIRS: StreamState.OPEN,
    },
    StreamState.OURS_ENDED: {
        Step.END_THEIRS: StreamState.CLOSED,
        Step.BLOCK_THEIRS: StreamState.OURS_ENDED,
    },
    StreamState.THEIRS_ENDED: {
        Step.END_OURS: StreamState.CLOSED,
        Step.BLOCK_OURS: StreamState.THEIRS_ENDED,
    },
}


@dataclass(frozen=True, slots=True)
class StreamOffered:
    """The peer opens a stream: `accept` or `refuse` it."""

    stream_id: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class StreamAccepted:
    """The peer has accepted a stream of ours."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamBlock:
    """The peer has sent data: call `consumed` when it has gone where it belongs."""

    stream_id: int
    block: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer will send no more on this stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is over in both directions, by the peer's wish or for its mistake."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class RoomMade:
    """More may be sent than before, see `room`."""


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The peer opens no more streams and ends the connection when those that there are have ended."""


SessionEvent = (
    StreamOffered | StreamAccepted | StreamBlock | StreamEnded | StreamReset | RoomMade | PeerLeaving
)


@dataclass(slots=True)
class _Stream:
    state: StreamState
    room: int
    """The peer's window: how much it will take."""
    promised: int = FIRST_WINDOW
    """Our window: how much the peer may have under way, unread blocks included. Negative when it does not count."""
    unread: int = 0
    """How much has come that is not consumed yet."""


class SpdySession:
    """One side of a connection. `receive` takes bytes and gives events; `take` gives bytes that are to be sent.

    After a ProtocolError `take` still gives the farewell to the peer.
    """

    def __init__(self, role: Role) -> None:
        self._role = role
        self._reader = frames.FrameReader()
        self._compressor = HeaderCompressor()
        self._decompressor = HeaderDecompressor()
        self._streams: dict[int, _Stream] = {}
        self._next_id = role.value
        self._last_peer_id = 0
        self._announced = False
        self._peer_counts = False
        self._peer_exceeds = False
        self._first_room = FIRST_WINDOW
        self._room = FIRST_WINDOW
        self._promised = FIRST_WINDOW
        self._left = False
        self._out: list[bytes] = []
        self._events: list[SessionEvent] = []

    def take(self) -> list[bytes]:
        """What is to be sent, in order; each block is given once."""
        out, self._out = self._out, []
        return out

    def receive(self, data: bytes) -> list[SessionEvent]:
        """What came of `data`. Raises ProtocolError when the connection cannot go on."""
        try:
            for frame in self._reader.feed(data):
                self._frame(frame)
        except ProtocolError:
            self.leave(GoAwayStatus.PROTOCOL_ERROR)
            self._events.clear()
            raise
        events, self._events = self._events, []
        return events

    def announce(self) -> None:
        """Tell the peer that we count, by a setting of the window that holds anyway. Idempotent.

        A peer that hears so before it sends need not send too much to find out.
        """
        if not self._announced:
            self._announced = True
            self._send(frames.Settings(((frames.Setting.INITIAL_WINDOW_SIZE, FIRST_WINDOW),)))

    def open(self, headers: Mapping[str, str]) -> int:
        """Request a stream and return its id. Nothing may be sent on it until StreamAccepted."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream(StreamState.REQUESTED, self._first_room)
        self._send(frames.SynStream(stream_id, self._compressor.compress(headers)))
        return stream_id

    def accept(self, stream_id: int) -> None:
        """Answer an offered stream. Nothing happens when the peer has reset it behind its offer."""
        if stream_id in self._streams:
            self._step(stream_id, Step.ANSWER)
            self._send(frames.SynReply(stream_id, self._compressor.compress({})))

    def reset(self, stream_id: int, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """End a stream at once, in both directions; also the way to refuse an offered one. Idempotent."""
        if self._streams.pop(stream_id, None) is not None:
            self._send(frames.RstStream(stream_id, status))

    def room(self, stream_id: int) -> int:
        """How many bytes may be sent on the stream now; 0 means wait for RoomMade or the stream's end."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        if not self._peer_counts or self._peer_exceeds:
            return frames.MOST_DATA_BYTES
        return max(0, min(stream.room, self._room, frames.MOST_DATA_BYTES))

    def can_send(self, stream_id: int) -> bool:
        """Whether our half of the stream is open."""
        stream = self._streams.get(stream_id)
        return stream is not None and Step.BLOCK_OURS in STEPS[stream.state]

    def send(self, stream_id: int, block: bytes | memoryview) -> None:
        """Send data, at most as much as there is room for. Raises ValueError on a stream that takes none."""
        self._step(stream_id, Step.BLOCK_OURS)
        stream = self._streams[stream_id]
        stream.room -= len(block)
        self._room -= len(block)
        self._out.append(frames.data_header(stream_id, len(block)))
        self._out.append(bytes(block))

    def end(self, stream_id: int) -> None:
        """Send no more on the stream; nothing happens if our half has ended before."""
        if self.can_send(stream_id):
            self._step(stream_id, Step.END_OURS)
            self._out.append(frames.data_header(stream_id, 0, fin=True))

    def consumed(self, stream_id: int, count: int) -> None:
        """`count` received bytes have gone where they belong; the peer may send more on this stream."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.unread -= count
            stream.promised = self._widen(stream_id, stream.promised - count)

    def ping(self, ping_id: int) -> None:
        """Ask the peer for a sign of life; its answer is only traffic."""
        self._send(frames.Ping(ping_id))

    def leave(self, status: GoAwayStatus = GoAwayStatus.OK) -> None:
        """Say that no streams are taken any more. Idempotent."""
        if not self._left:
            self._left = True
            self._send(frames.GoAway(self._last_peer_id, status))

    def _widen(self, stream_id: int, promised: int) -> int:
        """The window after consumption, widened again once half of it is used."""
        if promised > OUR_WINDOW // 2:
            return promised
        self._send(frames.WindowUpdate(stream_id, OUR_WINDOW - promised))
        return OUR_WINDOW

    def _send(self, frame: frames.ControlFrame) -> None:
        self._out.append(frames.encode(frame))

    def _step(self, stream_id: int, step: Step) -> None:
        """Take a step of our own."""
        stream = self._streams.get(stream_id)
        if stream is None or step not in STEPS[stream.state]:
            state = StreamState.CLOSED if stream is None else stream.state
            raise ValueError(f"stream {stream_id} is {state.value}: {step.value} is not possible")
        self._enter(stream_id, stream, STEPS[stream.state][step])

    def _peer_step(self, stream_id: int, step: Step) -> bool:
        """Take a step of the peer's; False if it may not, and then the stream has been reset."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False  # was reset while this was under way, or never was: there is nothing to be saved
        following = STEPS[stream.state].get(step)
        if following is None:
            status = (
                ResetStatus.PROTOCOL_ERROR
                if stream.state is StreamState.REQUESTED
                else ResetStatus.STREAM_ALREADY_CLOSED
            )
            self.reset(stream_id, status)
            self._events.append(StreamReset(stream_id))
            return False
        self._enter(stream_id, stream, following)
        return True

    def _enter(self, stream_id: int, stream: _Stream, state: StreamState) -> None:
        stream.state = state
        if state is StreamState.CLOSED:
            del self._streams[stream_id]

    def _frame(self, frame: frames.Frame) -> None:
        match frame:
            case frames.Data():
                self._data(frame)
            case frames.SynStream():
                self._syn_stream(frame)
            case frames.SynReply():
                self._syn_reply(frame)
            case frames.RstStream():
                if self._streams.pop(frame.stream_id, None) is not None:
                    self._events.append(StreamReset(frame.stream_id))
            case frames.Headers():
                self._headers(frame)
            case frames.WindowUpdate():
                self._window_update(frame)
            case frames.Settings():
                self._settings(frame)
            case frames.Ping():
                if frame.ping_id % 2 != self._role.value % 2:
                    self._send(frame)
            case frames.GoAway():
                self._events.append(PeerLeaving())

    def _data(self, frame: frames.Data) -> None:
        if frame.block:
            if self._peer_step(frame.stream_id, Step.BLOCK_THEIRS):
                self._events.append(StreamBlock(frame.stream_id, frame.block))
                self._count(self._streams[frame.stream_id], len(frame.block))
            self._promised = self._widen(0, self._promised - len(frame.block))
        if frame.fin and self._peer_step(frame.stream_id, Step.END_THEIRS):
            self._events.append(StreamEnded(frame.stream_id))

    def _count(self, stream: _Stream, received: int) -> None:
        stream.unread += received
        if stream.unread > stream.promised and not self._peer_exceeds:
            self._peer_exceeds = True
            self._events.append(RoomMade())

    def _syn_stream(self, frame: frames.SynStream) -> None:
        stream_id = frame.stream_id
        if stream_id <= self._last_peer_id or stream_id % 2 == self._role.value % 2:
            raise ProtocolError(f"SYN_STREAM for stream {stream_id} after {self._last_peer_id}")
        self._last_peer_id = stream_id
        try:
            headers = self._decompressor.decompress(frame.header_block)
        except MalformedHeadersError:
            self._send(frames.RstStream(stream_id, ResetStatus.PROTOCOL_ERROR))
            return
        if self._left:
            return
        if frame.unidirectional or len(self._streams) >= MOST_STREAMS:
            self._send(frames.RstStream(stream_id, ResetStatus.REFUSED_STREAM))
            return
        self._streams[stream_id] = _Stream(StreamState.OFFERED, self._first_room)
        self._events.append(StreamOffered(stream_id, headers))
        if frame.fin and self._peer_step(stream_id, Step.END_THEIRS):
            self._events.append(StreamEnded(stream_id))

    def _syn_reply(self, frame: frames.SynReply) -> None:
        self._decompress(frame.header_block)
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            return
        if stream.state is not StreamState.REQUESTED:
            self.reset(frame.stream_id, ResetStatus.STREAM_IN_USE)
            self._events.append(StreamReset(frame.stream_id))
            return
        self._enter(frame.stream_id, stream, STEPS[stream.state][Step.ANSWER])
        self._events.append(StreamAccepted(frame.stream_id))
        if frame.fin and self._peer_step(frame.stream_id, Step.END_THEIRS):
            self._events.append(StreamEnded(frame.stream_id))

    def _headers(self, frame: frames.Headers) -> None:
        """More headers mean nothing here, but the block belongs to the compression and may carry a FIN."""
        self._decompress(frame.header_block)
        if frame.fin and self._peer_step(frame.stream_id, Step.END_THEIRS):
            self._events.append(StreamEnded(frame.stream_id))

    def _decompress(self, block: bytes) -> None:
        try:
            self._decompressor.decompress(block)
        except MalformedHeadersError:
            pass  # nobody wants to know what they say

    def _window_update(self, frame: frames.WindowUpdate) -> None:
        self._peer_counts = True
        if not frame.stream_id:
            self._room += frame.delta
            if not frame.delta or self._room > LARGEST_WINDOW:
                raise ProtocolError(f"window of the connection widened by {frame.delta} to {self._room}")
        elif (stream := self._streams.get(frame.stream_id)) is not None:
            stream.room += frame.delta
            if not frame.delta or stream.room > LARGEST_WINDOW:
                self.reset(frame.stream_id, ResetStatus.FLOW_CONTROL_ERROR)
                self._events.append(StreamReset(frame.stream_id))
                return
        self._events.append(RoomMade())

    def _settings(self, frame: frames.Settings) -> None:
        size = dict(frame.values).get(frames.Setting.INITIAL_WINDOW_SIZE)
        if size is None:
            return
        if size > LARGEST_WINDOW:
            raise ProtocolError(f"initial window of {size} bytes")
        self._peer_counts = True
        for stream in self._streams.values():
            stream.room += size - self._first_room
        self._first_room = size
        self.announce()
        self._events.append(RoomMade())
