"""Remote commands as playbooks, beginning with what real clients sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.stream import spdy_frames as frames
from cri.stream.channels import ChannelBlock, ChannelEnded, ChannelReader, Coding, channel_message
from cri.stream.endpoints import Streams, TerminalSize
from cri.stream.errors import ProtocolError
from cri.stream.outcome import Ended, Failed, as_status, as_text
from cri.stream.remote_command import (
    V1,
    V2,
    V4,
    V5,
    ClientLeft,
    Ready,
    Resized,
    RoomMade,
    StdinBlock,
    StdinEnded,
    Version,
)
from cri.stream.spdy_remote_command import SpdyRemoteCommand, wanted_types
from cri.stream.spdy_session import Role as SpdyRole
from cri.stream.spdy_session import SpdySession, StreamEnded, StreamReset
from cri.stream.terminal_sizes import TerminalSizeReader
from cri.stream.websocket import Closed, MessagePiece, Role, WebSocket
from cri.stream.websocket_remote_command import WebSocketRemoteCommand
from tests.stream import recorded

ALL = Streams(stdin=True, stdout=True, stderr=True)
TERMINAL = Streams(stdin=True, stdout=True, terminal=True)


def sent_by(protocol: SpdyRemoteCommand) -> list[object]:
    return [
        (type(frame).__name__, frame.stream_id) if isinstance(frame, frames.SynReply) else frame
        for frame in frames.FrameReader().feed(b"".join(protocol.take()))
    ]


def test_a_recorded_spdy_exec():
    protocol = SpdyRemoteCommand(V4, ALL)
    assert protocol.receive(recorded.SPDY_EXEC) == [Ready(), StdinBlock(b"hello\n"), StdinEnded()]
    window, *replies = sent_by(protocol)
    assert isinstance(window, frames.WindowUpdate)
    assert window.stream_id == 0, "the connection's"
    assert replies == [("SynReply", stream_id) for stream_id in (1, 3, 5, 7)]
    protocol.send("stdout", b"hello\n")
    protocol.end("stdout")
    protocol.end("stderr")
    protocol.send("error", as_status(Ended(0)))
    protocol.close()
    assert sent_by(protocol) == [
        frames.Data(5, b"hello\n"),
        frames.Data(5, b"", fin=True),
        frames.Data(7, b"", fin=True),
        frames.Data(1, b'{"metadata":{},"status":"Success"}'),
        frames.Data(1, b"", fin=True),
        frames.Data(3, b"", fin=True),
        frames.GoAway(7, 0),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_a_recorded_spdy_exec_in_pieces(size: int):
    protocol = SpdyRemoteCommand(V4, ALL)
    wire = recorded.SPDY_EXEC
    events = [
        event for start in range(0, len(wire), size) for event in protocol.receive(wire[start : start + size])
    ]
    stdin = b"".join(event.block for event in events if isinstance(event, StdinBlock))
    assert (events[0], stdin, events[-1]) == (Ready(), b"hello\n", StdinEnded())


def test_a_recorded_websocket_exec():
    protocol = WebSocketRemoteCommand(V5, Coding.RAW, ALL)
    assert protocol.receive(b"") == [Ready()]
    assert protocol.take() == [b"\x82\x01\x01"], "an empty message on the first output"
    assert protocol.receive(recorded.WEBSOCKET_EXEC) == [StdinBlock(b"hello\n"), StdinEnded(), ClientLeft()]
    assert protocol.take() == [b"\x88\x02\x03\xe8"], "the closing frame is answered"


@pytest.mark.parametrize(
    ("streams", "version", "expected"),
    [
        (ALL, V4, {"error", "stdin", "stdout", "stderr"}),
        (TERMINAL, V4, {"error", "stdin", "stdout", "resize"}),
        (TERMINAL, V2, {"error", "stdin", "stdout"}),
        (Streams(stdout=True), V4, {"error", "stdout"}),
        (Streams(stdout=True, stderr=True, terminal=True), V1, {"error", "stdout"}),
    ],
)
def test_the_streams_that_are_waited_for(streams: Streams, version: Version, expected: set[str]):
    assert wanted_types(streams, version) == expected


class Opened:
    """A remote command with a client of the same connection."""

    def __init__(self, streams: Streams, version: Version = V4) -> None:
        self.protocol = SpdyRemoteCommand(version, streams)
        self.client = SpdySession(SpdyRole.CLIENT)

    def open(self, kind: str) -> int:
        return self.client.open({"streamtype": kind})

    def to_server(self) -> list[object]:
        return list(self.protocol.receive(b"".join(self.client.take())))

    def to_client(self) -> list[object]:
        return list(self.client.receive(b"".join(self.protocol.take())))


def test_streams_that_nobody_asked_for_are_taken_and_ended():
    opened = Opened(Streams(stdout=True))
    extra = opened.open("stderr")
    opened.open("error")
    assert opened.to_server() == []
    assert StreamEnded(extra) in opened.to_client()
    opened.open("stdout")
    assert opened.to_server() == [Ready()]


def test_unknown_and_second_streams_are_refused():
    opened = Opened(ALL)
    opened.open("error")
    again, unknown = opened.open("error"), opened.open("nonsense")
    assert opened.to_server() == []
    found = opened.to_client()
    assert StreamReset(again) in found
    assert StreamReset(unknown) in found


def test_sizes_come_from_the_resize_stream():
    opened = Opened(TERMINAL)
    ids = {kind: opened.open(kind) for kind in ("error", "stdin", "stdout", "resize")}
    opened.to_server()
    opened.to_client()
    opened.client.send(ids["resize"], b'{"Width":80,"Height":24}{"Width":100,')
    opened.client.send(ids["resize"], b'"Height":50}\n')
    sizes = [event for event in opened.to_server() if not isinstance(event, RoomMade)]
    assert sizes == [Resized(TerminalSize(80, 24)), Resized(TerminalSize(100, 50))]


def test_a_reset_of_stdin_is_its_end_and_of_stdout_drops_output():
    opened = Opened(ALL)
    ids = {kind: opened.open(kind) for kind in ("error", "stdin", "stdout", "stderr")}
    opened.to_server()
    opened.to_client()
    opened.client.reset(ids["stdin"])
    opened.client.reset(ids["stdout"])
    assert opened.to_server() == [StdinEnded(), RoomMade()]
    assert opened.protocol.room("stdout") > 0, "waiting for room would be for ever"
    opened.protocol.send("stdout", b"nobody wants it")
    opened.protocol.send("stderr", b"this one is wanted")
    assert [type(event).__name__ for event in opened.to_client()] == ["StreamBlock"]


def test_version_5_ends_channels_and_older_ones_ignore_that():
    client = WebSocket(Role.CLIENT)
    client.send(b"\xff\x00")
    client.send(b"\x00x")
    wire = b"".join(client.take())
    newer, older = (WebSocketRemoteCommand(version, Coding.RAW, ALL) for version in (V5, V4))
    assert newer.receive(wire) == [Ready(), StdinEnded()]
    assert older.receive(wire) == [Ready(), StdinBlock(b"x")]


@pytest.mark.parametrize("message", [b"\xff", b"\xff\x00\x00", b"\xff\x09"])
def test_a_malformed_close_ends_the_connection(message: bytes):
    client = WebSocket(Role.CLIENT)
    client.send(message)
    protocol = WebSocketRemoteCommand(V5, Coding.RAW, ALL)
    with pytest.raises(ProtocolError):
        protocol.receive(b"".join(client.take()))
    assert any(isinstance(event, Closed) for event in client.receive(b"".join(protocol.take())))


def test_channels_that_only_the_server_writes_are_ignored():
    client = WebSocket(Role.CLIENT)
    for channel in (1, 2, 3, 9):
        client.send(bytes((channel,)) + b"nonsense")
    client.send(b'\x04{"Width":1,"Height":2}')
    protocol = WebSocketRemoteCommand(V4, Coding.RAW, TERMINAL)
    assert protocol.receive(b"".join(client.take())) == [Ready(), Resized(TerminalSize(1, 2))]


def test_stdin_that_was_not_asked_for_is_ignored():
    client = WebSocket(Role.CLIENT)
    client.send(b"\x00x")
    protocol = WebSocketRemoteCommand(V4, Coding.RAW, Streams(stderr=True))
    assert protocol.take() == [b"\x82\x01\x02"]
    assert protocol.receive(b"".join(client.take())) == [Ready()]


def test_what_is_no_websocket_gets_its_error():
    protocol = WebSocketRemoteCommand(V4, Coding.RAW, ALL)
    protocol.take()
    with pytest.raises(ProtocolError):
        protocol.receive(b"\x82\x01\x00x")  # not masked
    assert protocol.take()[0].startswith(b"\x88")
    assert protocol.receive(b"more") == []


@given(st.integers(0, 5), st.binary(max_size=300), st.sampled_from(Coding), st.data())
def test_channel_messages_in_any_pieces(channel: int, content: bytes, coding: Coding, data: st.DataObject):
    message = channel_message(coding, channel, content)
    wire = message.encode() if isinstance(message, str) else message
    reader = ChannelReader(coding, closes=True)
    received = b""
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        piece, wire = wire[:size], wire[size:]
        for event in reader.feed(MessagePiece(piece, not wire)):
            assert isinstance(event, ChannelBlock)
            assert event.channel == channel
            received += event.block
    assert received == content


def test_a_close_in_pieces():
    reader = ChannelReader(Coding.RAW, closes=True)
    assert reader.feed(MessagePiece(b"\xff", last=False)) == []
    assert reader.feed(MessagePiece(b"\x00", last=False)) == []
    assert reader.feed(MessagePiece(b"", last=True)) == [ChannelEnded(0)]


def test_bad_base64_is_an_error():
    with pytest.raises(ProtocolError):
        ChannelReader(Coding.BASE64, closes=False).feed(MessagePiece(b"0abcde", last=True))


@pytest.mark.parametrize(
    ("outcome", "text", "status"),
    [
        (Ended(0), b"", {"metadata": {}, "status": "Success"}),
        (
            Ended(137),
            b"command terminated with exit code 137",
            {
                "metadata": {},
                "status": "Failure",
                "message": "command terminated with exit code 137",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": "137"}]},
            },
        ),
        (
            Failed("no such program"),
            b"no such program",
            {
                "metadata": {},
                "status": "Failure",
                "message": "no such program",
                "reason": "InternalError",
                "code": 500,
            },
        ),
    ],
)
def test_outcomes(outcome: Ended | Failed, text: bytes, status: dict[str, object]):
    assert as_text(outcome) == text
    assert json.loads(as_status(outcome)) == status


def test_sizes_without_area_and_unknown_fields():
    reader = TerminalSizeReader()
    assert reader.feed(b'{"Width":0,"Height":5} {"width":1,"height":2,"x":[]} {"Width":"a"}') == [
        TerminalSize(1, 2)
    ]


@pytest.mark.parametrize("nonsense", [b"[1]", b"{" * 5000, b'"' + b"a" * 5000, b"[" * 5000])
def test_sizes_after_nonsense_are_not_looked_for(nonsense: bytes):
    reader = TerminalSizeReader()
    assert reader.feed(nonsense) == []
    assert reader.feed(b'{"Width":1,"Height":2}') == []
