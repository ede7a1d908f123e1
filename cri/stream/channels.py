"""Channels in WebSocket messages: the first byte of each message is the number of its channel.

In the base64 form messages are text: the number is a digit, the rest is base64. Version 5 adds a message of two bytes,
255 and a channel, which ends that channel; older peers ignore the unknown channel.
"""

from __future__ import annotations

import binascii
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cri.stream.errors import ProtocolError

if TYPE_CHECKING:
    from cri.stream.websocket import MessagePiece

CLOSE_CHANNEL: Final = 255
_FIRST_DIGIT: Final = ord("0")


class Coding(enum.Enum):
    """How a message's content is written."""

    RAW = "binary messages"
    BASE64 = "text messages in base64"


@dataclass(frozen=True, slots=True)
class ChannelBlock:
    """Content for a channel."""

    channel: int
    block: bytes


@dataclass(frozen=True, slots=True)
class ChannelEnded:
    """Nothing follows on a channel."""

    channel: int


ChannelEvent = ChannelBlock | ChannelEnded


def channel_message(coding: Coding, channel: int, block: bytes) -> bytes | str:
    """The message that carries `block` on `channel`."""
    if coding is Coding.RAW:
        return bytes((channel,)) + block
    return f"{channel}{binascii.b2a_base64(block, newline=False).decode()}"


class ChannelReader:
    """Takes pieces of messages, gives content by channel. Holds less than one group of base64."""

    def __init__(self, coding: Coding, *, closes: bool) -> None:
        """`closes`: whether the protocol has the message that ends a channel."""
        self._coding = coding
        self._closes = closes
        self._channel: int | None = None
        self._rest = b""

    def feed(self, piece: MessagePiece) -> list[ChannelEvent]:
        """What `piece` brings. Raises ProtocolError for bad base64 and for a malformed CLOSE."""
        block = piece.block
        if self._channel is None:
            if not block:
                return []  # a message without a channel
            first = block[0] if self._coding is Coding.RAW else block[0] - _FIRST_DIGIT
            self._channel, block = first, block[1:]
        channel = self._channel
        if piece.last:
            self._channel = None
        if self._closes and channel == CLOSE_CHANNEL:
            return self._close(block, last=piece.last)
        if self._coding is Coding.BASE64:
            block = self._decoded(block, last=piece.last)
        return [ChannelBlock(channel, block)] if block else []

    def _close(self, block: bytes, *, last: bool) -> list[ChannelEvent]:
        self._rest += block
        if len(self._rest) > 1 or (last and not self._rest):
            raise ProtocolError("CLOSE message does not name exactly one channel")
        if not last:
            return []
        (channel,), self._rest = self._rest, b""
        return [ChannelEnded(channel)]

    def _decoded(self, block: bytes, *, last: bool) -> bytes:
        text = self._rest + block
        whole = len(text) if last else len(text) // 4 * 4
        self._rest = text[whole:]
        try:
            return binascii.a2b_base64(text[:whole])
        except binascii.Error as error:
            raise ProtocolError(f"channel message is not base64: {error}") from None
