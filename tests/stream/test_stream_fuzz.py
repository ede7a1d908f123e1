"""Any bytes in: no exception but the protocol's own, no unbounded memory, and always something sensible to send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri.stream import spdy_frames as frames
from cri.stream.channels import Coding
from cri.stream.endpoints import Streams
from cri.stream.errors import ProtocolError, Refused
from cri.stream.handshake import Handshake
from cri.stream.port_forward import PortForwardProtocol
from cri.stream.remote_command import V1, V4, V5, RemoteCommandProtocol
from cri.stream.spdy_headers import HeaderCompressor
from cri.stream.spdy_port_forward import SpdyPortForward
from cri.stream.spdy_remote_command import SpdyRemoteCommand
from cri.stream.terminal_sizes import TerminalSizeReader
from cri.stream.tunnel import TunnelledPortForward
from cri.stream.websocket import Role, WebSocket
from cri.stream.websocket_port_forward import WebSocketPortForward
from cri.stream.websocket_remote_command import WebSocketRemoteCommand
from tests.stream import recorded

Protocol = RemoteCommandProtocol | PortForwardProtocol
ALL = Streams(stdin=True, stdout=True, stderr=True, terminal=True)
MAKERS = {
    "spdy command": lambda: SpdyRemoteCommand(V4, ALL),
    "old spdy command": lambda: SpdyRemoteCommand(V1, ALL),
    "websocket command": lambda: WebSocketRemoteCommand(V5, Coding.RAW, ALL),
    "base64 command": lambda: WebSocketRemoteCommand(V4, Coding.BASE64, ALL),
    "spdy forward": SpdyPortForward,
    "tunnel": TunnelledPortForward,
    "websocket forward": lambda: WebSocketPortForward(Coding.RAW, (80, 81)),
    "base64 forward": lambda: WebSocketPortForward(Coding.BASE64, (80,)),
}
ids = st.integers(0, 12)
types = st.sampled_from(["error", "stdin", "stdout", "stderr", "resize", "data", "nonsense", ""])


@st.composite
def plausible_spdy(draw: st.DrawFn) -> bytes:
    """Frames that are well formed, in an order that makes no sense, with headers that may."""
    compressor = HeaderCompressor()
    headers = st.fixed_dictionaries(
        {"streamtype": types},
        optional={"port": st.sampled_from(["80", "0", "x"]), "requestid": st.sampled_from("12")},
    )
    wire = b""
    for _ in range(draw(st.integers(1, 12))):
        stream_id = draw(ids)
        match draw(st.integers(0, 8)):
            case 0 | 1:
                block = compressor.compress(draw(headers))
                wire += frames.encode(frames.SynStream(stream_id, block, draw(st.booleans())))
            case 2:
                wire += frames.encode(
                    frames.SynReply(stream_id, compressor.compress({}), draw(st.booleans()))
                )
            case 3:
                wire += frames.encode(frames.RstStream(stream_id, draw(st.integers(0, 20))))
            case 4:
                wire += frames.encode(frames.WindowUpdate(stream_id, draw(st.integers(0, 0x7FFF_FFFF))))
            case 5:
                wire += frames.encode(frames.Settings(((7, draw(st.integers(0, 0xFFFF_FFFF))),)))
            case 6:
                wire += frames.encode(draw(st.sampled_from([frames.Ping(1), frames.GoAway(0, 0)])))
            case 7:
                wire += frames.encode(frames.Headers(stream_id, compressor.compress({}), draw(st.booleans())))
            case _:
                block = draw(st.binary(max_size=20))
                wire += frames.data_header(stream_id, len(block), fin=draw(st.booleans())) + block
    return wire


@st.composite
def plausible_websocket(draw: st.DrawFn) -> bytes:
    """Messages that are well formed, with any content."""
    client = WebSocket(Role.CLIENT)
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            client.send(draw(st.binary(max_size=20)))
        elif draw(st.booleans()):
            client.send(draw(st.text(max_size=20)))
        else:
            client.send(draw(plausible_spdy()))
    if draw(st.booleans()):
        client.close()
    return b"".join(client.take())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A recorded client with some bytes changed."""
    wire = bytearray(
        draw(st.sampled_from([recorded.SPDY_EXEC, recorded.SPDY_FORWARD, recorded.WEBSOCKET_EXEC]))
    )
    for _ in range(draw(st.integers(1, 5))):
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire)


wires = st.one_of(st.binary(max_size=200), plausible_spdy(), plausible_websocket(), damaged())


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=150, deadline=None)
@given(wires=st.lists(wires, max_size=4), size=st.integers(1, 64))
def test_any_bytes(name: str, wires: list[bytes], size: int):
    protocol: Protocol = MAKERS[name]()
    wire = b"".join(wires)
    try:
        for start in range(0, len(wire), size):
            protocol.receive(wire[start : start + size])
    except ProtocolError:
        assert b"".join(protocol.take()), "a farewell says what was wrong"
    protocol.close()
    assert all(isinstance(block, (bytes, bytearray)) for block in protocol.take())
    assert protocol.take() == []


@settings(max_examples=200, deadline=None)
@given(wires)
def test_any_bytes_as_a_request(wire: bytes):
    handshake = Handshake()
    refusal = None
    try:
        handshake.receive(wire)
        handshake.receive(b"")
    except Refused as raised:
        refusal = raised
    assert refusal is None or handshake.refuse(refusal).startswith(b"HTTP/1.1 4")


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_as_sizes(pieces: list[bytes]):
    reader = TerminalSizeReader()
    for piece in pieces:
        assert all(0 < size.width <= 0xFFFF for size in reader.feed(piece))


def test_messages_without_end_take_no_memory():
    client = WebSocket(Role.CLIENT)
    client.send(bytes(1 << 20))
    wire = b"".join(client.take())
    protocol = WebSocketRemoteCommand(V4, Coding.RAW, ALL)
    pieces = [
        event for start in range(0, len(wire), 4096) for event in protocol.receive(wire[start : start + 4096])
    ]
    assert len(pieces) > 200, "content is passed on as it comes"
