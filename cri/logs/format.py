"""The CRI log format: raw output in, log records out. Pure: no files, no sockets, no clock but the one given.

A record is `<RFC 3339 time> <stream> <tag> <content>\\n`, the tag F for a line that is complete with this
record and P for a piece of one. The rules, which are those of containerd's CRI plugin:

* A line ends at a newline; one carriage return before it is dropped, all others stay. NUL and bytes that are
  no UTF-8 stay.
* Content longer than the limit is cut into P records of exactly the limit and a last F record that holds the
  remaining 1 to limit bytes. Exactly the limit is not cut. The dropped carriage return does not count.
* What is left without a newline at the end of the stream becomes P records.

Formatting is block-wise. Lines that need no cutting, nearly all, become records by one `bytes.replace` over
the whole block, with one time per block; that they need no cutting is found by jumping from limit to limit
backwards to the newline before, so the cost does not depend on the number of lines. Only the first line of a
block (when it began in an earlier one) and lines above the limit are handled on their own.
"""

from __future__ import annotations

import time

# A line without an end would fill the memory of the process that serves all containers, so "no limit" ends
# here.
LARGEST_LINE = 64 * 1024 * 1024

Piece = bytes | memoryview


class Timestamps:
    """RFC 3339 local time with nine digits of nanoseconds; the calendar is consulted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = b""
        self._zone = b""

    def format(self, nanoseconds: int) -> bytes:
        """The time of `nanoseconds` since the epoch, with the local offset or Z."""
        second, fraction = divmod(nanoseconds, 1_000_000_000)
        if second != self._second:
            local = time.localtime(second)
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", local).encode()
            self._zone = _zone(local.tm_gmtoff)
        return b"%b.%09d%b" % (self._prefix, fraction, self._zone)

    def now(self) -> bytes:
        """The present."""
        return self.format(time.time_ns())


def _zone(offset_seconds: int) -> bytes:
    if offset_seconds == 0:
        return b"Z"
    hours, minutes = divmod(abs(offset_seconds) // 60, 60)
    return b"%c%02d:%02d" % (b"-" if offset_seconds < 0 else b"+", hours, minutes)


class RecordFormatter:
    """Turns one stream of one container into records; what `feed` and `finish` return is written joined.

    Every returned list ends at the end of a record, so concurrent streams can share a file.
    """

    def __init__(self, stream: str, max_line: int) -> None:
        """`stream` is stdout or stderr; `max_line` the longest content in bytes, 0 or less for no limit."""
        self.lines = 0
        """Records made so far, pieces included."""
        self.split_lines = 0
        """Pieces that were cut off because the line was too long."""
        self._limit = max_line if 0 < max_line < LARGEST_LINE else LARGEST_LINE
        self._full = f" {stream} F ".encode()
        self._partial = f" {stream} P ".encode()
        self._begun = bytearray()  # the line that has begun and not ended; never longer than the limit
        self._held = False  # a carriage return that may turn out to belong to a newline

    def feed(self, block: bytes, stamp: bytes) -> list[Piece]:
        """The records that `block`, read at time `stamp`, completes."""
        block = self._without_returns(block)
        records: list[Piece] = []
        position = 0
        while position < len(block):
            end = position if self._begun else self._end_of_short_lines(block, position)
            if end > position:
                self._add_lines(records, block[position:end], stamp)
                position = end
                continue
            newline = block.find(b"\n", position)
            if newline < 0:
                self._begin(records, block[position:], stamp)
                break
            self._begin(records, block[position:newline], stamp)
            self._add(records, stamp + self._full, bytes(self._begun))
            self._begun.clear()
            position = newline + 1
        return records

    def finish(self, stamp: bytes) -> list[Piece]:
        """The records of what is left at the end of the stream."""
        records: list[Piece] = []
        if self._held:
            self._held = False
            self._begin(records, b"\r", stamp)
        if self._begun:
            self._add(records, stamp + self._partial, bytes(self._begun))
            self._begun.clear()
        return records

    def remark(self, text: str, stamp: bytes) -> list[Piece]:
        """A record of our own between those of the container."""
        return [stamp + self._full, text.encode(), b"\n"]

    def _without_returns(self, block: bytes) -> bytes:
        if self._held:
            block = b"\r" + block
            self._held = False
        if b"\r" not in block:
            return block
        if block.endswith(b"\r"):
            self._held = True
            block = block[:-1]
        return block.replace(b"\r\n", b"\n")

    def _end_of_short_lines(self, block: bytes, start: int) -> int:
        """Where the run of complete lines within the limit that begins at `start` ends."""
        end = start
        while True:
            newline = block.rfind(b"\n", end, end + self._limit + 1)
            if newline < 0:
                return end
            end = newline + 1

    def _add_lines(self, records: list[Piece], lines: bytes, stamp: bytes) -> None:
        header = stamp + self._full
        text = lines.replace(b"\n", b"\n" + header)
        # The last newline also got a header behind it, which belongs in front of the first line.
        records += (header, memoryview(text)[: -len(header)])
        self.lines += (len(text) - len(lines)) // len(header)

    def _begin(self, records: list[Piece], content: bytes, stamp: bytes) -> None:
        """Add to the line that has begun, cutting off what is certainly a piece."""
        self._begun += content
        if len(self._begun) <= self._limit:
            return
        cut = (len(self._begun) - 1) // self._limit * self._limit
        whole = bytes(self._begun)
        for start in range(0, cut, self._limit):
            self._add(records, stamp + self._partial, whole[start : start + self._limit])
            self.split_lines += 1
        self._begun[:cut] = b""

    def _add(self, records: list[Piece], header: bytes, content: bytes) -> None:
        records += (header, content, b"\n")
        self.lines += 1
