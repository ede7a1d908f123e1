"""The rate limit: what passes, what is suppressed, what is told about it."""

from hypothesis import given
from hypothesis import strategies as st

from cri.logs.format import Piece, RecordFormatter
from cri.logs.rate import RateLimit

RECORD = b"T stdout F content\n"


def remark(text: str) -> list[Piece]:
    return RecordFormatter("stdout", 0).remark(text, b"T")


def admitted(limit: RateLimit, records: list[Piece], now: float) -> bytes:
    return b"".join(limit.admit(records, now, remark))


def test_records_pass_up_to_the_one_that_reaches_the_limit():
    limit = RateLimit(2 * len(RECORD) + 1)
    assert admitted(limit, [RECORD * 5], 0.0) == RECORD * 3
    assert limit.admit([RECORD], 0.5, remark) == [], "nothing at all, not even an empty write"
    assert (limit.suppressed_lines, limit.suppressed_bytes) == (3, 3 * len(RECORD))


def test_what_is_missing_is_told_before_the_next_record_and_once():
    limit = RateLimit(len(RECORD))
    assert admitted(limit, [RECORD * 3], 0.0) == RECORD
    told = b"".join(
        remark("[cri-shim: 38 bytes of log in 2 lines were suppressed, the limit is 19 bytes a second]")
    )
    assert admitted(limit, [RECORD], 1.0) == told + RECORD
    assert admitted(limit, [RECORD], 2.0) == RECORD
    assert limit.tell(remark) == []


def test_a_record_above_the_limit_passes_alone():
    limit = RateLimit(1)
    assert admitted(limit, [RECORD * 2], 0.0) == RECORD
    assert admitted(limit, [RECORD], 0.9) == b""
    assert admitted(limit, [], 5.0) == b""
    assert admitted(limit, [RECORD], 6.0).endswith(RECORD)


@given(
    st.integers(1, 200),
    st.lists(
        st.tuples(st.floats(0, 1.5), st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b""))))
    ),
)
def test_every_record_is_written_whole_or_counted(
    bytes_per_second: int, batches: list[tuple[float, list[bytes]]]
):
    limit, now, written, lines = RateLimit(bytes_per_second), 0.0, b"", 0
    for pause, contents in batches:
        now += pause
        lines += len(contents)
        written += admitted(
            limit, [piece for each in contents for piece in (b"T stdout F ", each, b"\n")], now
        )
    written += b"".join(limit.tell(remark))
    kept = [line for line in written.split(b"\n")[:-1] if b"[cri-shim: " not in line]
    assert all(line.startswith(b"T stdout F ") for line in kept)
    assert len(kept) + limit.suppressed_lines == lines
