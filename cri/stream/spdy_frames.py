"""Frames of SPDY/3.1: bytes in any pieces to frames, and frames to bytes. No meaning, no state of streams.

    control frame   1 | version 15 | type 16 | flags 8 | length 24 | payload
    data frame      0 | stream id 31         | flags 8 | length 24 | payload

A data frame may be 16 MiB long, so its payload is passed on as it comes: one `Data` for each piece, with `fin` on
the last. A control frame is collected first and may not be longer than `MOST_CONTROL_BYTES`. Types that the
specification does not name are skipped, as it demands.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cri.stream.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION: Final = 3
MOST_CONTROL_BYTES: Final = 32 << 10
MOST_DATA_BYTES: Final = (1 << 24) - 1
_HEADER = struct.Struct(">II")
_ID_MASK: Final = 0x7FFF_FFFF
_CONTROL_BIT: Final = 0x8000_0000
_FIN: Final = 0x01
_UNIDIRECTIONAL: Final = 0x02
_CLEAR_SETTINGS: Final = 0x01


class FrameType(enum.IntEnum):
    """Control frames by their number on the wire."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(enum.IntEnum):
    """Why a stream is reset."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class GoAwayStatus(enum.IntEnum):
    """Why a connection ends."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class Setting(enum.IntEnum):
    """The settings that mean something here."""

    MAX_CONCURRENT_STREAMS = 4
    INITIAL_WINDOW_SIZE = 7


@dataclass(frozen=True, slots=True)
class SynStream:
    """Opens a stream."""

    stream_id: int
    header_block: bytes
    fin: bool = False
    """The sender will send nothing on it."""
    unidirectional: bool = False
    """The receiver may send nothing on it."""
    associated_id: int = 0
    priority: int = 0
    """0 is the highest, 7 the lowest."""


@dataclass(frozen=True, slots=True)
class SynReply:
    """Accepts a stream."""

    stream_id: int
    header_block: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    """Ends a stream in both directions at once."""

    stream_id: int
    status: int
    """A ResetStatus, or what a peer makes up."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the sender wishes the other side to keep to."""

    values: tuple[tuple[int, int], ...]
    """Pairs of Setting (or an unknown number) and value."""
    clear: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for the same frame back; odd ids are the client's."""

    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No further streams; the connection ends with those that there are."""

    last_stream_id: int
    status: int
    """A GoAwayStatus, or what a peer makes up."""


@dataclass(frozen=True, slots=True)
class Headers:
    """More headers for an open stream."""

    stream_id: int
    header_block: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """The receiver may send so many bytes more, on a stream or with id 0 on the connection."""

    stream_id: int
    delta: int


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a stream's content."""

    stream_id: int
    block: bytes
    fin: bool = False


ControlFrame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate
Frame = ControlFrame | Data


def data_header(stream_id: int, length: int, *, fin: bool = False) -> bytes:
    """What stands in front of a data frame's `length` bytes."""
    return _HEADER.pack(stream_id, (_FIN if fin else 0) << 24 | length)


def encode(frame: ControlFrame) -> bytes:
    """A control frame as it goes over the wire."""
    match frame:
        case SynStream():
            flags = (_FIN if frame.fin else 0) | (_UNIDIRECTIONAL if frame.unidirectional else 0)
            head = struct.pack(">IIBB", frame.stream_id, frame.associated_id, frame.priority << 5, 0)
            return _control(FrameType.SYN_STREAM, head + frame.header_block, flags)
        case SynReply():
            payload = struct.pack(">I", frame.stream_id) + frame.header_block
            return _control(FrameType.SYN_REPLY, payload, _FIN if frame.fin else 0)
        case Headers():
            payload = struct.pack(">I", frame.stream_id) + frame.header_block
            return _control(FrameType.HEADERS, payload, _FIN if frame.fin else 0)
        case RstStream():
            return _control(FrameType.RST_STREAM, struct.pack(">II", frame.stream_id, frame.status))
        case Settings():
            entries = b"".join(struct.pack(">II", number, value) for number, value in frame.values)
            payload = struct.pack(">I", len(frame.values)) + entries
            return _control(FrameType.SETTINGS, payload, _CLEAR_SETTINGS if frame.clear else 0)
        case Ping():
            return _control(FrameType.PING, struct.pack(">I", frame.ping_id))
        case GoAway():
            return _control(FrameType.GOAWAY, struct.pack(">II", frame.last_stream_id, frame.status))
        case WindowUpdate():
            return _control(FrameType.WINDOW_UPDATE, struct.pack(">II", frame.stream_id, frame.delta))


def _control(kind: FrameType, payload: bytes, flags: int = 0) -> bytes:
    return _HEADER.pack(_CONTROL_BIT | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


class FrameReader:
    """Takes bytes in any pieces, gives frames. Holds at most one control frame."""

    def __init__(self) -> None:
        self._rest = b""
        self._data_id = 0
        self._data_fin = False
        self._data_left = 0
        self._skip_left = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames, or pieces of data frames, that `data` completes. Raises ProtocolError."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        frames: list[Frame] = []
        position, end = 0, len(data)
        while True:
            if self._data_left:
                if position == end:
                    break
                block = data[position : position + self._data_left]
                position += len(block)
                self._data_left -= len(block)
                frames.append(Data(self._data_id, block, self._data_fin and not self._data_left))
            elif self._skip_left:
                if position == end:
                    break
                skipped = min(self._skip_left, end - position)
                position += skipped
                self._skip_left -= skipped
            else:
                used = self._begin(data, position, frames)
                if not used:
                    self._rest = data[position:]
                    break
                position += used
        return frames

    def _begin(self, data: bytes, position: int, frames: list[Frame]) -> int:
        """Read what starts at `position`, and say how many bytes it took; 0 if there are too few yet."""
        if len(data) - position < _HEADER.size:
            return 0
        first: int
        second: int
        first, second = _HEADER.unpack_from(data, position)
        flags, length = second >> 24, second & MOST_DATA_BYTES
        if not first & _CONTROL_BIT:
            if not first:
                raise ProtocolError("data frame for stream 0")
            self._data_id, self._data_fin, self._data_left = first, bool(flags & _FIN), length
            if not length:
                frames.append(Data(first, b"", self._data_fin))
            return _HEADER.size
        version, number = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise ProtocolError(f"frame of SPDY version {version}, only {VERSION} is spoken here")
        if number not in _PARSERS:
            self._skip_left = length
            return _HEADER.size
        if length > MOST_CONTROL_BYTES:
            raise ProtocolError(
                f"{FrameType(number).name} frame of {length} bytes, {MOST_CONTROL_BYTES} are too many"
            )
        start = position + _HEADER.size
        if len(data) - start < length:
            return 0
        frames.append(_parse(FrameType(number), flags, data[start : start + length]))
        return _HEADER.size + length


def _parse(kind: FrameType, flags: int, payload: bytes) -> ControlFrame:
    try:
        return _PARSERS[kind](flags, payload)
    except struct.error:
        raise ProtocolError(f"{kind.name} frame of {len(payload)} bytes") from None


def _syn_stream(flags: int, payload: bytes) -> SynStream:
    stream_id, associated, priority, _slot = struct.unpack_from(">IIBB", payload)
    return SynStream(
        stream_id & _ID_MASK,
        payload[10:],
        fin=bool(flags & _FIN),
        unidirectional=bool(flags & _UNIDIRECTIONAL),
        associated_id=associated & _ID_MASK,
        priority=priority >> 5,
    )


def _syn_reply(flags: int, payload: bytes) -> SynReply:
    (stream_id,) = struct.unpack_from(">I", payload)
    return SynReply(stream_id & _ID_MASK, payload[4:], fin=bool(flags & _FIN))


def _headers(flags: int, payload: bytes) -> Headers:
    (stream_id,) = struct.unpack_from(">I", payload)
    return Headers(stream_id & _ID_MASK, payload[4:], fin=bool(flags & _FIN))


def _rst_stream(_flags: int, payload: bytes) -> RstStream:
    stream_id, status = struct.unpack(">II", payload)
    return RstStream(stream_id & _ID_MASK, status)


def _settings(flags: int, payload: bytes) -> Settings:
    (count,) = struct.unpack_from(">I", payload)
    if len(payload) != 4 + 8 * count:
        raise ProtocolError(f"SETTINGS frame of {len(payload)} bytes for {count} settings")
    pairs = struct.iter_unpack(">II", payload[4:])
    return Settings(
        tuple((word & 0xFF_FFFF, value) for word, value in pairs), clear=bool(flags & _CLEAR_SETTINGS)
    )


def _ping(_flags: int, payload: bytes) -> Ping:
    return Ping(*struct.unpack(">I", payload))


def _goaway(_flags: int, payload: bytes) -> GoAway:
    last, status = struct.unpack(">II", payload)
    return GoAway(last & _ID_MASK, status)


def _window_update(_flags: int, payload: bytes) -> WindowUpdate:
    stream_id, delta = struct.unpack(">II", payload)
    return WindowUpdate(stream_id & _ID_MASK, delta & _ID_MASK)


_PARSERS: Final[dict[int, Callable[[int, bytes], ControlFrame]]] = {
    FrameType.SYN_STREAM: _syn_stream,
    FrameType.SYN_REPLY: _syn_reply,
    FrameType.RST_STREAM: _rst_stream,
    FrameType.SETTINGS: _settings,
    FrameType.PING: _ping,
    FrameType.GOAWAY: _goaway,
    FrameType.HEADERS: _headers,
    FrameType.WINDOW_UPDATE: _window_update,
}
