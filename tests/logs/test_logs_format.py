"""The CRI log format, held against a slow and obvious reference."""

import os
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cri.logs.format import RecordFormatter, Timestamps

STAMP = b"T"


def reference(data: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    """The rules, one line and one byte at a time."""
    records = []
    *lines, rest = data.split(b"\n")
    for line in lines:
        content = line.removesuffix(b"\r")
        while 0 < limit < len(content):
            records.append((b"P", content[:limit]))
            content = content[limit:]
        records.append((b"F", content))
    while 0 < limit < len(rest):
        records.append((b"P", rest[:limit]))
        rest = rest[limit:]
    if rest:
        records.append((b"P", rest))
    return records


def written(blocks: list[bytes], limit: int, stream: str = "stdout") -> list[tuple[bytes, bytes]]:
    formatter = RecordFormatter(stream, limit)
    batches = [b"".join(formatter.feed(block, STAMP)) for block in blocks]
    batches.append(b"".join(formatter.finish(STAMP)))
    assert all(not batch or batch.endswith(b"\n") for batch in batches), "a batch ends inside a record"
    *records, nothing = b"".join(batches).split(b"\n")
    assert nothing == b""
    head = f"T {stream} ".encode()
    assert all(record.startswith(head) and record[len(head) + 1 :][:1] == b" " for record in records)
    assert formatter.lines == len(records)
    return [(record[len(head) :][:1], record[len(head) + 2 :]) for record in records]


alphabet = st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"\0", b"\xff\xfe", b"x" * 7, b"y" * 40])
blocks = st.lists(st.lists(alphabet, max_size=12).map(b"".join), max_size=12)


@settings(max_examples=1500, deadline=None)
@given(blocks, st.integers(-1, 50))
@example([b"aaaaa\r", b"\nb"], 5)
@example([b"aaaaa", b"\r", b"\r", b"\n"], 5)
@example([b"\r"], 1)
@example([b"abcdef"], 3)
def test_any_chunking_gives_what_the_rules_say(blocks, limit):
    assert written(blocks, limit) == reference(b"".join(blocks), limit)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(0, 64))
def test_any_bytes_any_cuts(data, sizes, limit):
    blocks, position = [], 0
    for size in sizes:
        blocks.append(data[position : position + size])
        position += size
    blocks.append(data[position:])
    assert written(blocks, limit) == reference(data, limit)


@settings(max_examples=200, deadline=None)
@given(blocks, st.integers(1, 9))
def test_content_is_kept(blocks, limit):
    data = b"".join(blocks)
    content = b"".join(text + (b"\n" if tag == b"F" else b"") for tag, text in written(blocks, limit))
    assert content == re.sub(rb"\r\n", b"\n", data)


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b"", []),
        (b"\n", [(b"F", b"")]),
        (b"\r\n", [(b"F", b"")]),
        (b"\r\r\n", [(b"F", b"\r")]),
        (b"one\ntwo", [(b"F", b"one"), (b"P", b"two")]),
        (b"bar\rfoo\r\n", [(b"F", b"bar\rfoo")]),
        (b"x" * 10 + b"\n", [(b"F", b"x" * 10)]),
        (b"x" * 10 + b"\r\n", [(b"F", b"x" * 10)]),
        (b"x" * 11 + b"\n", [(b"P", b"x" * 10), (b"F", b"x")]),
        (b"x" * 20 + b"\n", [(b"P", b"x" * 10), (b"F", b"x" * 10)]),
        (b"x" * 20, [(b"P", b"x" * 10), (b"P", b"x" * 10)]),
        (b"\0\xff\n", [(b"F", b"\0\xff")]),
    ],
)
def test_the_edges(data, records):
    assert written([data], 10) == records
    assert written([bytes([byte]) for byte in data], 10) == records


def test_pieces_of_a_line_that_never_ends_are_written_at_once_and_memory_stays_bounded():
    formatter = RecordFormatter("stderr", 1000)
    out = b"".join(b"".join(formatter.feed(b"x" * 999, STAMP)) for _ in range(100))
    assert out.count(b"\n") == 99
    assert formatter.split_lines == formatter.lines == 99
    assert len(formatter._begun) <= 1000


def test_no_limit_keeps_large_lines_whole():
    line = os.urandom(3_000_000).replace(b"\n", b"").replace(b"\r", b"")
    blocks = [line[at : at + 65536] for at in range(0, len(line), 65536)]
    assert written([*blocks, b"\n"], 0) == [(b"F", line)]
    assert written([*blocks, b"\n"], -1) == [(b"F", line)]


def test_both_streams_are_named():
    assert written([b"a\nb"], 10, "stderr") == [(b"F", b"a"), (b"P", b"b")]


def test_times_have_nine_digits_and_an_offset(monkeypatch):
    moment = 1_700_000_000_000_000_120
    try:
        for zone, text in [
            ("UTC0", b"2023-11-14T22:13:20.000000120Z"),
            ("CET-1", b"2023-11-14T23:13:20.000000120+01:00"),
            ("NST3:30", b"2023-11-14T18:43:20.000000120-03:30"),
        ]:
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert Timestamps().format(moment) == text
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_are_those_of_the_clock():
    stamps = Timestamps()
    assert stamps.format(5_999_999_999)[19:29] == b".999999999"
    assert stamps.format(6_000_000_000)[17:29] == b"06.000000000"
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)", stamps.now()), (
        "kubelet parses exactly this"
    )
