"""What is fuzzed of streams, and what has to be so whatever comes in.

Every target takes any bytes and raises AssertionError, or what the code under test raises, when

* something else than the protocol's own error comes out, or that error without a farewell for the peer,
* more content is passed on than came in, or the answers are out of proportion to the questions,
* more is kept in memory than a session may take.

The input decides by itself how it is cut into pieces, and what the server does at each event.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterator

from cri.stream import port_forward as forward
from cri.stream import remote_command as command
from cri.stream import spdy_session as session
from cri.stream.channels import Coding
from cri.stream.endpoints import Streams
from cri.stream.errors import ProtocolError, Refused
from cri.stream.handshake import Handshake
from cri.stream.port_forward import PortForwardProtocol
from cri.stream.remote_command import V1, V4, V5, RemoteCommandProtocol
from cri.stream.spdy_port_forward import SpdyPortForward
from cri.stream.spdy_remote_command import SpdyRemoteCommand
from cri.stream.terminal_sizes import TerminalSizeReader
from cri.stream.tunnel import TunnelledPortForward
from cri.stream.websocket_port_forward import WebSocketPortForward
from cri.stream.websocket_remote_command import WebSocketRemoteCommand
from tests.fuzz import wires
from tests.fuzz.script import Script
from tests.stream import recorded

Target = Callable[[bytes], None]
Protocol = RemoteCommandProtocol | PortForwardProtocol | session.SpdySession
Wire = Callable[[Script], bytes]

ALL = Streams(stdin=True, stdout=True, stderr=True, terminal=True)
MOST_KEPT_BYTES = 4 << 20
LOOK_AT_MEMORY_FROM = 512
"""Measuring what is kept takes longer than the rest, and a short input cannot fill much."""
ANSWER_FACTOR = 64
FIRST_ANSWER_BYTES = 4096
ANSWER = b"some output"


def _converse(make: Callable[[], Protocol], *ways: Wire) -> Target:
    """A target that speaks to a protocol in one of some ways."""

    def target(data: bytes) -> None:
        script = Script(data)
        acts = itertools.cycle(script.block(4) or b"\0")
        size = 1 + script.byte()
        wire = script.one_of(ways)(script)
        protocol = make()
        received = sent = 0
        try:
            for start in range(0, len(wire), size):
                for event in protocol.receive(wire[start : start + size]):
                    received += len(getattr(event, "block", b""))
                    _act(protocol, event, acts)
                sent += sum(len(block) for block in protocol.take())
        except ProtocolError:
            assert b"".join(protocol.take()), "the peer is not told what was wrong"
        assert received <= len(wire), "content came from nowhere"
        assert sent <= len(wire) * ANSWER_FACTOR + FIRST_ANSWER_BYTES, f"{sent} bytes answer {len(wire)}"
        if len(data) >= LOOK_AT_MEMORY_FROM:
            kept = _size(protocol)
            assert kept <= MOST_KEPT_BYTES, f"{kept} bytes are kept of {len(wire)}"
        if not isinstance(protocol, session.SpdySession):
            protocol.close()
        protocol.take()
        assert protocol.take() == [], "each block is given once"

    return target


def _act(protocol: Protocol, event: object, acts: Iterator[int]) -> None:
    """What a server may do at an event; it keeps to the protocol's interface, so nothing may be raised."""
    match event:
        case command.StdinBlock(block):
            _command(protocol, next(acts), len(block))
        case command.Ready() | command.RoomMade() | command.StdinEnded():
            _command(protocol, next(acts), 0)
        case forward.Requested(key):
            _forward(protocol, next(acts), key, 0)
        case forward.Block(key, block):
            _forward(protocol, next(acts), key, len(block))
        case forward.Ended(key):
            _forward(protocol, next(acts), key, 0)
        case session.StreamOffered(stream_id):
            if next(acts) % 4:
                protocol.accept(stream_id)
            else:
                protocol.reset(stream_id)
        case session.StreamBlock(stream_id, block):
            protocol.consumed(stream_id, len(block))
            if protocol.can_send(stream_id):
                protocol.send(stream_id, ANSWER[: protocol.room(stream_id)])
        case session.StreamEnded(stream_id):
            protocol.end(stream_id)
        case _:
            pass


def _command(protocol: RemoteCommandProtocol, act: int, count: int) -> None:
    protocol.consumed(count)
    channel = ("stdout", "stderr", "error")[act % 3]
    if act % 8 == 7:
        protocol.end(channel)
    else:
        protocol.send(channel, ANSWER[: protocol.room(channel)])


def _forward(protocol: PortForwardProtocol, act: int, key: int, count: int) -> None:
    protocol.consumed(key, count)
    match act % 8:
        case 0:
            protocol.fail(key, "no such port")
        case 1:
            protocol.abort(key)
        case 2:
            protocol.finish(key)
        case 3:
            protocol.end(key)
        case 4:
            protocol.sweep()
        case _:
            protocol.send(key, ANSWER[: protocol.room(key)])


def _size(root: object) -> int:
    """Bytes of an object and of everything that only values lead to."""
    seen: set[int] = set()
    waiting, size = [root], 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type) or callable(each):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return size


def _request(data: bytes) -> None:
    """A request in pieces, and the end of input."""
    script = Script(data)
    size = 1 + script.byte()
    wire = script.rest()
    handshake = Handshake()
    refusal = None
    try:
        for start in range(0, len(wire), size):
            if handshake.receive(wire[start : start + size]) is not None:
                return
        handshake.receive(b"")
    except Refused as raised:
        refusal = raised
    assert refusal is None or handshake.refuse(refusal)[:10] in (b"", b"HTTP/1.1 4"), refusal


def _terminal_sizes(data: bytes) -> None:
    script = Script(data)
    reader = TerminalSizeReader()
    while not script.over:
        for size in reader.feed(script.block(1 + script.byte())):
            assert 0 < min(size.width, size.height) <= max(size.width, size.height) <= 0xFFFF


TARGETS: dict[str, Target] = {
    "spdy": _converse(lambda: session.SpdySession(session.Role.SERVER), wires.raw, wires.spdy),
    "spdy-command": _converse(lambda: SpdyRemoteCommand(V4, ALL), wires.raw, wires.spdy),
    "spdy-command-v1": _converse(lambda: SpdyRemoteCommand(V1, ALL), wires.raw, wires.spdy),
    "spdy-forward": _converse(SpdyPortForward, wires.raw, wires.spdy),
    "websocket-command": _converse(
        lambda: WebSocketRemoteCommand(V5, Coding.RAW, ALL), wires.raw, wires.websocket
    ),
    "websocket-command-base64": _converse(
        lambda: WebSocketRemoteCommand(V4, Coding.BASE64, ALL), wires.raw, wires.websocket
    ),
    "websocket-forward": _converse(
        lambda: WebSocketPortForward(Coding.RAW, (80, 81)), wires.raw, wires.websocket
    ),
    "websocket-forward-base64": _converse(
        lambda: WebSocketPortForward(Coding.BASE64, (80,)), wires.raw, wires.websocket
    ),
    "tunnel": _converse(TunnelledPortForward, wires.raw, wires.websocket),
    "request": _request,
    "terminal-sizes": _terminal_sizes,
}

_RAW = bytes((0, 1, 2, 3, 255, 0))
"""The decisions in front of bytes that are taken as they are."""

SEEDS: dict[str, tuple[bytes, ...]] = {
    "spdy": (_RAW + recorded.SPDY_EXEC, _RAW + recorded.SPDY_FORWARD),
    "spdy-command": (_RAW + recorded.SPDY_EXEC,),
    "spdy-command-v1": (_RAW + recorded.SPDY_EXEC,),
    "spdy-forward": (_RAW + recorded.SPDY_FORWARD,),
    "websocket-command": (_RAW + recorded.WEBSOCKET_EXEC,),
    "websocket-command-base64": (_RAW + recorded.WEBSOCKET_EXEC,),
    "websocket-forward": (_RAW + recorded.WEBSOCKET_EXEC,),
    "websocket-forward-base64": (_RAW + recorded.WEBSOCKET_EXEC,),
    "tunnel": (_RAW + recorded.TUNNELLED_FORWARD,),
    "request": (b"\xff" + recorded.SPDY_EXEC_REQUEST, b"\xff" + recorded.WEBSOCKET_EXEC_REQUEST),
    "terminal-sizes": tuple(b"\xff" + each for each in wires.SIZES),
}
"""What real clients sent, to start from."""
