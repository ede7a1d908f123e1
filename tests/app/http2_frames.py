"""Just enough of HTTP/2 (RFC 9113) to misbehave with: frames by hand, headers as HPACK literals without an index."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def opening() -> bytes:
    """What a client says first."""
    return PREFACE + frame(SETTINGS)


def headers(stream: int, path: str, flags: int = END_HEADERS) -> bytes:
    """The headers of a gRPC call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(_literal(name, value) for name, value in fields.items())
    return frame(HEADERS, flags, stream, block)


def message(stream: int, payload: bytes = b"") -> bytes:
    """A gRPC message that ends the client's side of the call."""
    return frame(DATA, END_STREAM, stream, b"\0" + struct.pack(">I", len(payload)) + payload)


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
