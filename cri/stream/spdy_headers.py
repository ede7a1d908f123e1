"""Header blocks of SPDY/3: a list of names and values, compressed in one context for the life of the connection.

Both directions have a zlib stream each that starts from a fixed dictionary and never ends, so blocks must be
decompressed in the order in which they came, also those of streams that are refused. A block that cannot be
decompressed, or that is larger than the limit, therefore spoils the whole connection; one that decompresses to
nonsense spoils only its stream.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from cri.stream.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES: Final = 4 << 10
"""Of one block, decompressed. The headers of these protocols take a hundred; a few bytes of zlib can become any number,
and a client may offer thousands of streams."""

_LENGTH = struct.Struct(">I")
_WINDOW_BITS: Final = (
    11  # holds the dictionary; with 32 KiB windows a connection would cost a quarter of a MiB
)
_MEMORY_LEVEL: Final = 1

_PREFIXED_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_PLAIN_TEXT: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = (word.replace("_", " ").encode() for word in _PREFIXED_WORDS.split())
    return b"".join(_LENGTH.pack(len(word)) + word for word in words) + _PLAIN_TEXT.encode()


DICTIONARY: Final = _dictionary()
"""The dictionary of the SPDY/3 specification, section 2.6.10.1."""


class MalformedHeadersError(Exception):
    """The block is in order for the connection, but its content is no header list."""


class HeaderCompressor:
    """Makes the header blocks that one side sends."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(
            zlib.Z_BEST_COMPRESSION, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=DICTIONARY
        )

    def compress(self, headers: Mapping[str, str]) -> bytes:
        """The block for `headers`, whose names are sent in lower case."""
        parts = [_LENGTH.pack(len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += (_LENGTH.pack(len(text)), text)
        return self._stream.compress(b"".join(parts)) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecompressor:
    """Reads the header blocks that one side receives."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zdict=DICTIONARY)

    def decompress(self, block: bytes) -> dict[str, str]:
        """The headers in `block`; several values of a name are parted by NUL.

        Raises ProtocolError where the connection cannot go on, MalformedHeadersError where only the stream cannot.
        """
        try:
            plain = self._stream.decompress(block, MOST_BYTES)
        except zlib.error as error:
            raise ProtocolError(f"header block cannot be decompressed: {error}") from None
        if self._stream.unconsumed_tail or self._stream.eof:
            raise ProtocolError(f"header block ends the compression, or is larger than {MOST_BYTES} bytes")
        return _parse(plain)


def _parse(plain: bytes) -> dict[str, str]:
    texts: list[str] = []
    try:
        (count,) = _LENGTH.unpack_from(plain)
        position = _LENGTH.size
        for _ in range(min(count, MOST_BYTES) * 2):
            (length,) = _LENGTH.unpack_from(plain, position)
            position += _LENGTH.size
            if position + length > len(plain):
                raise MalformedHeadersError("text goes beyond the end of the header block")
            texts.append(plain[position : position + length].decode())
            position += length
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedHeadersError(str(error)) from None
    headers = dict(zip(texts[::2], texts[1::2], strict=True))
    if position != len(plain) or len(headers) != count:
        raise MalformedHeadersError("header block has a name twice or bytes beyond its end")
    if "" in headers or any(name != name.lower() for name in headers):
        raise MalformedHeadersError("header block has a name that is empty or not in lower case")
    return headers
