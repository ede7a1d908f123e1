"""A limit on how much of a container's output reaches its log: so many bytes a second, the rest is said to be missing.

Time is cut into windows of a second. Within one, records are written until the limit is reached, the last of them
whole; what comes after is suppressed, so that the disk and those who ship logs are spared, and the container is never
slowed by it. Before the first record of a later window a remark tells what is missing. Pure: the caller has the clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.logs.format import Piece

WINDOW_SECONDS = 1.0


class RateLimit:
    """The limit of one container, over all of its streams."""

    def __init__(self, bytes_per_second: int) -> None:
        """`bytes_per_second` counts what would be written, headers included."""
        self.suppressed_bytes = 0
        """Bytes of records that were not written for the limit's sake."""
        self.suppressed_lines = 0
        """Records that were not written for the limit's sake."""
        self._limit = bytes_per_second
        self._began = float("-inf")
        self._left = 0
        self._untold_bytes = 0
        self._untold_lines = 0

    def admit(self, records: list[Piece], now: float, remark: Callable[[str], list[Piece]]) -> list[Piece]:
        """The records that may be written at `now` (monotonic seconds), behind what is to be told.

        `remark` makes a record of a text.
        """
        if not records:
            return records
        told: list[Piece] = []
        if now - self._began >= WINDOW_SECONDS:
            self._began, self._left = now, self._limit
            told = self.tell(remark)
        size = sum(map(len, records))
        if size > self._left:
            whole = b"".join(records)
            size = self._fitting(whole)
            self._suppress(whole[size:])
            records = [whole[:size]] if size else []
        self._left -= size
        return told + records

    def tell(self, remark: Callable[[str], list[Piece]]) -> list[Piece]:
        """A record about what is missing since the last one, if anything is."""
        if not self._untold_lines:
            return []
        text = (
            f"[cri-shim: {self._untold_bytes} bytes of log in {self._untold_lines} lines were suppressed, "
            f"the limit is {self._limit} bytes a second]"
        )
        self._untold_bytes = self._untold_lines = 0
        return remark(text)

    def _fitting(self, whole: bytes) -> int:
        """The length of the records up to the one that reaches the limit; 0 when it has been reached before."""
        return whole.find(b"\n", self._left - 1) + 1 if self._left > 0 else 0

    def _suppress(self, records: bytes) -> None:
        lines = records.count(b"\n")
        self.suppressed_bytes += len(records)
        self.suppressed_lines += lines
        self._untold_bytes += len(records)
        self._untold_lines += lines
