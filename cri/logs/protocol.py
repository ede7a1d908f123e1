"""How server and log keeper talk over the keeper's socket. Pure: bytes in, frames out; both sides import it.

Frame: four bytes length of the payload (big-endian), one byte kind, payload. Kinds: MESSAGE, a JSON object;
STDOUT and STDERR, raw output.

The keeper speaks first: `{"hello": VERSION, "revision": REVISION, "instance": …, "pid": …}`. Then each
request of the client is `{"seq": n, "do": verb, …}` and is answered, in any order, by `{"seq": n, "result":
…}` or `{"seq": n, "error": kind, "text": …}` with one of the error kinds below. After `subscribe` was
answered the connection carries output to the client: STDOUT and STDERR frames, `{"skipped": n}` where the
client was too slow for n bytes, and `{"end": true}` when the container's output has ended. Closing the
connection ends it.

A keeper outlives the servers, so a new server meets an old keeper. Within one VERSION verbs and keys are only
added; a receiver ignores keys that it does not know and answers an unknown verb with UNSUPPORTED. A server
that needs more than the keeper offers does without it until the keeper is replaced. Frames, the hello and
`shutdown` are there for ever: a keeper of another VERSION is asked to end, and replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = 1
"""Of this protocol; a change that the other side cannot ignore raises it."""

REVISION: Final = 3
"""Of the keeper's program; raised with every change worth replacing a running keeper for."""

MESSAGE: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
STREAM_KINDS: Final = {"stdout": STDOUT, "stderr": STDERR}

# Error kinds.
UNKNOWN_CONTAINER: Final = "unknown-container"
CANNOT_OPEN: Final = "cannot-open"
CONFLICT: Final = "conflict"
UNSUPPORTED: Final = "unsupported"
MALFORMED: Final = "malformed"

HEADER_BYTES: Final = 5
LARGEST_FRAME: Final = 64 * 1024 * 1024

Message = dict[str, object]


class ProtocolError(Exception):
    """The peer sent what is no frame or no JSON object; the connection is of no use any more."""


def header(kind: int, length: int) -> bytes:
    """What stands in front of a payload of `length` bytes."""
    return length.to_bytes(4, "big") + bytes((kind,))


def parse_header(head: bytes) -> tuple[int, int]:
    """`(length, kind)` of a frame. Raises ProtocolError when the length is absurd."""
    length, kind = int.from_bytes(head[:4], "big"), head[4]
    if length > LARGEST_FRAME:
        raise ProtocolError(f"frame of {length} bytes")
    return length, kind


def encode(message: Message) -> bytes:
    """A whole MESSAGE frame."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    return header(MESSAGE, len(payload)) + payload


def decode(payload: bytes) -> Message:
    """The object of a MESSAGE frame. Raises ProtocolError."""
    try:
        message = json.loads(payload)
    except ValueError as error:
        raise ProtocolError(f"no JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("a message must be a JSON object")
    return message


class FrameDecoder:
    """Takes bytes in any pieces, gives whole frames."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The `(kind, payload)` of every frame that `data` completes. Raises ProtocolError."""
        self._waiting += data
        while len(self._waiting) >= HEADER_BYTES:
            length, kind = parse_header(bytes(self._waiting[:HEADER_BYTES]))
            end = HEADER_BYTES + length
            if len(self._waiting) < end:
                return
            payload = bytes(self._waiting[HEADER_BYTES:end])
            del self._waiting[:end]
            yield kind, payload


@contextlib.contextmanager
def socket_address(path: str) -> Iterator[str]:
    """A name for bind(2) and connect(2) of the socket at `path`, which may be longer than their 107 bytes."""
    if len(os.fsencode(path)) <= 107:
        yield path
        return
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)
