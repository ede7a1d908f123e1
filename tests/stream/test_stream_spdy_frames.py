"""SPDY framing: frames to bytes and back, in pieces of any length."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.stream import spdy_frames as frames
from cri.stream.errors import ProtocolError

ids = st.integers(1, 0x7FFF_FFFF)
blocks = st.binary(max_size=64)
control_frames = st.one_of(
    st.builds(frames.SynStream, ids, blocks, st.booleans(), st.booleans(), ids, st.integers(0, 7)),
    st.builds(frames.SynReply, ids, blocks, st.booleans()),
    st.builds(frames.Headers, ids, blocks, st.booleans()),
    st.builds(frames.RstStream, ids, st.integers(0, 0xFFFF_FFFF)),
    st.builds(
        frames.Settings,
        st.lists(st.tuples(st.integers(0, 0xFF_FFFF), st.integers(0, 0xFFFF_FFFF)), max_size=5).map(tuple),
        st.booleans(),
    ),
    st.builds(frames.Ping, st.integers(0, 0xFFFF_FFFF)),
    st.builds(frames.GoAway, ids, st.integers(0, 0xFFFF_FFFF)),
    st.builds(frames.WindowUpdate, st.integers(0, 0x7FFF_FFFF), st.integers(0, 0x7FFF_FFFF)),
)


@given(control_frames)
def test_control_frames_survive_the_wire(frame: frames.ControlFrame):
    assert frames.FrameReader().feed(frames.encode(frame)) == [frame]


@given(st.lists(st.one_of(control_frames, st.builds(frames.Data, ids, blocks, st.booleans()))), st.data())
def test_how_bytes_are_cut_means_nothing(sent: list[frames.Frame], data: st.DataObject):
    wire = b"".join(
        frames.data_header(frame.stream_id, len(frame.block), fin=frame.fin) + frame.block
        if isinstance(frame, frames.Data)
        else frames.encode(frame)
        for frame in sent
    )
    reader = frames.FrameReader()
    received: list[frames.Frame] = []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        received += reader.feed(wire[:size])
        wire = wire[size:]
    assert _joined(received) == _joined(sent)


def _joined(given: list[frames.Frame]) -> list[frames.Frame]:
    """Pieces of data put together, as far as the end of one frame can be told from the next."""
    joined: list[frames.Frame] = []
    for frame in given:
        last = joined[-1] if joined else None
        if (
            isinstance(frame, frames.Data)
            and isinstance(last, frames.Data)
            and not last.fin
            and last.stream_id == frame.stream_id
        ):
            joined[-1] = frames.Data(frame.stream_id, last.block + frame.block, frame.fin)
        else:
            joined.append(frame)
    return joined


def test_a_long_data_frame_is_passed_on_as_it_comes():
    reader = frames.FrameReader()
    assert reader.feed(frames.data_header(1, 1 << 20, fin=True) + b"abc") == [frames.Data(1, b"abc")]
    assert reader.feed(b"d" * 1000) == [frames.Data(1, b"d" * 1000)]
    rest = (1 << 20) - 1003
    assert reader.feed(b"e" * rest + b"\x00") == [frames.Data(1, b"e" * rest, fin=True)]


def test_unknown_control_frames_are_skipped():
    unknown = struct.pack(">II", 0x8003_000A, 70000) + bytes(70000)  # CREDENTIAL, longer than is collected
    reader = frames.FrameReader()
    ping = frames.encode(frames.Ping(1))
    assert reader.feed(unknown[:9]) == []
    assert reader.feed(unknown[9:] + ping) == [frames.Ping(1)]


@pytest.mark.parametrize(
    "wire",
    [
        struct.pack(">II", 0x8002_0006, 4),  # another version
        struct.pack(">II", 0, 0),  # stream 0
        struct.pack(">II", 0x8003_0001, frames.MOST_CONTROL_BYTES + 1),
        struct.pack(">II", 0x8003_0001, 9) + bytes(9),
        struct.pack(">II", 0x8003_0006, 5) + bytes(5),
        struct.pack(">IIII", 0x8003_0004, 8, 2, 0),  # two settings announced, none there
    ],
)
def test_what_is_no_frame_is_an_error(wire: bytes):
    with pytest.raises(ProtocolError):
        frames.FrameReader().feed(wire)
