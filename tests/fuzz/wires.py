"""What a stream's client may send, made from a Script: frames and messages in order, in an order without sense."""

from __future__ import annotations

import struct
from collections.abc import Callable

from cri.stream import spdy_frames as frames
from cri.stream.spdy_headers import HeaderCompressor
from cri.stream.websocket import Role, WebSocket
from tests.fuzz.script import Script

STREAM_TYPES = ("error", "stdin", "stdout", "stderr", "resize", "data", "nonsense", "")
PORTS = ("80", "0", "x", "65536", "", "٣")
SIZES = (b'{"Width":80,"Height":24}', b'{"Width":', b"[]", b'{"width":1e9,"height":0}', b"[" * 50)
WINDOWS = (0, 1, 100, 1 << 16, 0x7FFF_FFFF, 0xFFFF_FFFF)


def raw(script: Script) -> bytes:
    """Anything."""
    return script.rest()


def spdy(script: Script) -> bytes:
    """Frames whose headers are compressed as they should be."""
    compressor = HeaderCompressor()
    wire = b""
    while not script.over:
        wire += script.one_of(SPDY_FRAMES)(script, compressor)
    return wire


def websocket(script: Script) -> bytes:
    """Masked messages of channels, of SPDY, of anything."""
    client = WebSocket(Role.CLIENT)
    compressor = HeaderCompressor()
    wire = b""
    while not script.over:
        match script.byte() % 6:
            case 0:
                client.send(bytes((script.one_of((0, 4, 1, 255, 7)),)) + _content(script))
            case 1:
                client.send(f"{script.byte() % 6}" + script.block(script.byte() % 32).decode("latin-1"))
            case 2:
                client.send(script.one_of(SPDY_FRAMES)(script, compressor))
            case 3:
                client.send(b"\xff" + script.block(script.byte() % 3))
            case 4:
                client.close(1000 + script.byte() % 20, "")
            case _:
                wire += b"".join(client.take()) + _websocket_frame(script)
    return wire + b"".join(client.take())


def _websocket_frame(script: Script) -> bytes:
    """Any opcode, any bits, a length that may be another than the content's."""
    content = script.block(script.byte() % 32)
    length = len(content) if script.yes() else script.byte()
    head = bytes((script.byte(), (script.byte() & 0x80) | (length % 126)))
    return head + (script.block(4).ljust(4, b"\0") if head[1] & 0x80 else b"") + content


def _content(script: Script) -> bytes:
    return script.one_of(SIZES) if script.yes() else script.block(script.byte() % 32)


def _syn_stream(script: Script, compressor: HeaderCompressor) -> bytes:
    headers = {"streamtype": script.one_of(STREAM_TYPES)}
    if script.yes():
        headers["port"] = script.one_of(PORTS)
    if script.yes():
        headers["requestid"] = str(script.byte() % 4)
    flags = script.byte()
    frame = frames.SynStream(_id(script), compressor.compress(headers), bool(flags & 1), flags % 16 == 2)
    return frames.encode(frame)


def _syn_of_any_headers(script: Script, compressor: HeaderCompressor) -> bytes:
    """A header block that is well compressed and says anything, or much."""
    name, value = (script.block(script.byte() % 16) * (1 << script.byte() % 12) for _ in range(2))
    text = "".join(chr(each) for each in value)
    return frames.encode(frames.SynStream(_id(script), compressor.compress({name.decode("latin-1"): text})))


def _syn_reply(script: Script, compressor: HeaderCompressor) -> bytes:
    return frames.encode(frames.SynReply(_id(script), compressor.compress({}), script.yes()))


def _headers(script: Script, compressor: HeaderCompressor) -> bytes:
    return frames.encode(frames.Headers(_id(script), compressor.compress({"a": "b"}), script.yes()))


def _reset(script: Script, _: HeaderCompressor) -> bytes:
    return frames.encode(frames.RstStream(_id(script), script.byte()))


def _window_update(script: Script, _: HeaderCompressor) -> bytes:
    return frames.encode(frames.WindowUpdate(_id(script), script.one_of(WINDOWS) & 0x7FFF_FFFF))


def _settings(script: Script, _: HeaderCompressor) -> bytes:
    return frames.encode(
        frames.Settings(((script.one_of((7, 4, 99)), script.one_of(WINDOWS)),), script.yes())
    )


def _small_frame(script: Script, _: HeaderCompressor) -> bytes:
    return frames.encode(script.one_of((frames.Ping(1), frames.Ping(2), frames.GoAway(0, 0))))


def _data(script: Script, _: HeaderCompressor) -> bytes:
    stream_id, block = _id(script), _content(script)
    return frames.data_header(stream_id, len(block), fin=script.yes()) + block


def _any_frame(script: Script, _: HeaderCompressor) -> bytes:
    """A header that may lie, and what is left in front of it."""
    first, flags, length = script.word(), script.byte(), script.byte()
    return struct.pack(">II", first, flags << 24 | length) + script.block(length)


def _id(script: Script) -> int:
    return script.byte() % 13


SPDY_FRAMES: tuple[Callable[[Script, HeaderCompressor], bytes], ...] = (
    _syn_stream,
    _syn_stream,
    _data,
    _data,
    _syn_of_any_headers,
    _syn_reply,
    _headers,
    _reset,
    _window_update,
    _settings,
    _small_frame,
    _any_frame,
)
