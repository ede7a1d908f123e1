"""Protobuf's wire format by hand, for long answers of which most is known beforehand. Pure.

A repeated field is its elements one after the other, each with tag and length, so what is encoded already is only
joined. See protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

VARINT, LENGTH_DELIMITED = 0, 2
"""Wire types: of numbers, and of messages, strings and bytes."""


def varint(value: int) -> bytes:
    """A number that is not negative: seven bits a byte, the lowest first, the top bit set on all but the last."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def tag(number: int, wire_type: int) -> bytes:
    """What stands before the value of field `number`."""
    return varint(number << 3 | wire_type)


def delimited(number: int, content: bytes) -> bytes:
    """Field `number` with a message, string or bytes."""
    return b"".join((tag(number, LENGTH_DELIMITED), varint(len(content)), content))


def text(number: int, value: str) -> bytes:
    """Field `number` with a string; like protobuf, nothing for an empty one that is not repeated."""
    return delimited(number, value.encode()) if value else b""


def unsigned(number: int, value: int) -> bytes:
    """Field `number` with a number or an enumeration; like protobuf, nothing for 0."""
    return tag(number, VARINT) + varint(value) if value else b""
