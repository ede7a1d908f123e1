"""Answers that are put together from parts which are encoded already, and the serialiser that lets them pass.

A list of hundreds of objects is asked for every second while hardly any of them changes. Encoding an object once,
when it has changed, makes the list a concatenation: in protobuf's wire format a repeated field is its elements one
after the other, each with tag and length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

LENGTH_DELIMITED = 2
"""Protobuf's wire type of messages, strings and bytes."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response message in its wire form. (gRPC wants plain bytes in the end, so this is no subclass of them.)"""

    content: bytes

    @classmethod
    def of(cls, fields: Iterable[bytes]) -> Encoded:
        """Join fields that `field` has made."""
        return cls(b"".join(fields))


def field(number: int, message: Message) -> bytes:
    """One element of the repeated message field `number`."""
    content = message.SerializeToString()
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def serialised(response: object) -> bytes:
    """The bytes of any response: a message or an Encoded."""
    return (
        response.content if isinstance(response, Encoded) else cast("Message", response).SerializeToString()
    )


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set on all but the last."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
