"""Answers that are put together from parts which are encoded already, and the serialiser that lets them pass.

A list of hundreds of objects is asked for every second while hardly any of them changes. Encoding an object once,
when it has changed, makes the list a concatenation: in protobuf's wire format a repeated field is its elements one
after the other, each with tag and length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from api.wire_format import delimited

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response message in its wire form. (gRPC wants plain bytes in the end, so this is no subclass of them.)"""

    content: bytes

    @classmethod
    def of(cls, fields: Iterable[bytes]) -> Encoded:
        """Join encoded fields."""
        return cls(b"".join(fields))


def field(number: int, message: Message) -> bytes:
    """One element of the repeated message field `number`."""
    return delimited(number, message.SerializeToString())


def serialised(response: object) -> bytes:
    """The bytes of any response: a message or an Encoded."""
    return (
        response.content if isinstance(response, Encoded) else cast("Message", response).SerializeToString()
    )
