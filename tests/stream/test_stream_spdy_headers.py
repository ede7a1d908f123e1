"""Header blocks: the dictionary, the shared context, the limits."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.stream.errors import ProtocolError
from cri.stream.spdy_headers import (
    DICTIONARY,
    MOST_BYTES,
    HeaderCompressor,
    HeaderDecompressor,
    MalformedHeadersError,
)

names = st.text(st.characters(categories=("Ll", "Nd")), min_size=1, max_size=20)


def compressed(plain: bytes) -> bytes:
    stream = zlib.compressobj(zdict=DICTIONARY)
    return stream.compress(plain) + stream.flush(zlib.Z_SYNC_FLUSH)


def test_the_dictionary_is_the_one_of_the_specification():
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(st.dictionaries(names, st.text(max_size=50), max_size=5), max_size=10))
def test_blocks_survive_in_one_context(sent: list[dict[str, str]]):
    compressor, decompressor = HeaderCompressor(), HeaderDecompressor()
    lower = [{name.lower(): value for name, value in each.items()} for each in sent]
    assert [decompressor.decompress(compressor.compress(each)) for each in lower] == lower


def test_names_are_sent_in_lower_case():
    block = HeaderCompressor().compress({"StreamType": "stdin"})
    assert HeaderDecompressor().decompress(block) == {"streamtype": "stdin"}


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        struct.pack(">I", 1),
        struct.pack(">I", 0xFFFF_FFFF),
        struct.pack(">II", 1, 5) + b"ab",
        struct.pack(">II", 1, 1) + b"a" + struct.pack(">I", 1) + b"b" + b"more",
        struct.pack(">II", 1, 0) + struct.pack(">I", 1) + b"b",  # empty name
        struct.pack(">II", 1, 1) + b"A" + struct.pack(">I", 1) + b"b",  # upper case
        struct.pack(">II", 2, 1) + (b"a" + struct.pack(">I", 1) + b"b" + struct.pack(">I", 1)) * 2,
        struct.pack(">II", 1, 1) + b"\xff" + struct.pack(">I", 0),
    ],
)
def test_nonsense_spoils_only_the_stream(plain: bytes):
    decompressor = HeaderDecompressor()
    with pytest.raises(MalformedHeadersError):
        decompressor.decompress(compressed(plain))


def test_a_bomb_spoils_the_connection():
    bomb = compressed(struct.pack(">I", 1) + bytes(MOST_BYTES * 100))
    assert len(bomb) < 4096
    with pytest.raises(ProtocolError):
        HeaderDecompressor().decompress(bomb)


@pytest.mark.parametrize("block", [b"\x00" * 10, b"x\x9c\x00", compressed(b"")[:6] + b"\xff\xff"])
def test_what_is_not_compressed_so_spoils_the_connection(block: bytes):
    with pytest.raises((ProtocolError, MalformedHeadersError)):
        HeaderDecompressor().decompress(block)
