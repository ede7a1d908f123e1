"""The values that cross the border between server and log keeper: what to follow, and what came of it.

Imported by the keeper process too, so nothing here may pull in asyncio, gRPC or structlog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired, TypedDict

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_MAX_LINE = 16384


@dataclass(frozen=True, slots=True)
class Followed:
    """One container's output: where it comes out and where it goes.

    `stdout` and `stderr` are FIFOs that exist already; `stderr` is None with a terminal, where the kernel
    merges both. `log_path` None means: drain and discard. `max_line` is the longest content in bytes before a
    line is split (containerd's `max_container_log_line_size`); 0 or less means no limit. What goes beyond
    `rate_limit` bytes of log a second is suppressed, and a log of `rotate_bytes` is set aside; 0 means never.
    """

    container_id: str
    stdout: Path
    stderr: Path | None
    log_path: Path | None
    terminal: bool = False
    max_line: int = DEFAULT_MAX_LINE
    rate_limit: int = 0
    rotate_bytes: int = 0
    log_directory: Path | None = None
    """The pod's, given by the kubelet; below it no symbolic link is followed on the way to the log."""

    def wire(self) -> WireFollowed:
        """As it travels to the keeper. With a terminal everything is stdout."""
        return {
            "container": self.container_id,
            "stdout": str(self.stdout),
            "stderr": None if self.stderr is None or self.terminal else str(self.stderr),
            "log_path": None if self.log_path is None else str(self.log_path),
            "max_line": self.max_line,
            "rate_limit": self.rate_limit,
            "rotate_bytes": self.rotate_bytes,
            "log_directory": None if self.log_directory is None else str(self.log_directory),
        }


@dataclass(frozen=True, slots=True)
class PumpCounters:
    """What happened to one container's output since the keeper follows it. Bytes are the container's own."""

    bytes: int = 0
    """Bytes read from stdout and stderr together."""
    lines: int = 0
    """Records made, pieces of split lines included."""
    split_lines: int = 0
    """Pieces that were cut off because a line was longer than `max_line`."""
    lost_bytes: int = 0
    """Bytes of records (headers included) that could not be written."""
    lost_lines: int = 0
    """Records that could not be written, in part or at all."""
    suppressed_bytes: int = 0
    """Bytes of records (headers included) that were not written for the rate limit's sake."""
    suppressed_lines: int = 0
    """Records that were not written for the rate limit's sake."""
    rotations: int = 0
    """How often the log was set aside for its size."""
    skipped_bytes: int = 0
    """Bytes that live listeners were too slow to receive; the log has them."""
    last_error: str = ""
    """The newest error on the log file with its path, empty when there was none."""
    finished: bool = False
    """True once every stream has ended and is written."""


class WireFollowed(TypedDict):
    """`Followed` on the wire. A newer server adds keys, which an older keeper ignores; an older server omits some."""

    container: str
    stdout: str
    stderr: str | None
    log_path: str | None
    max_line: int
    rate_limit: NotRequired[int]
    rotate_bytes: NotRequired[int]
    log_directory: NotRequired[str | None]


class Counters(TypedDict):
    """`PumpCounters` on the wire. A newer keeper may add keys; an older server ignores them."""

    bytes: int
    lines: int
    split_lines: int
    lost_bytes: int
    lost_lines: int
    suppressed_bytes: int
    suppressed_lines: int
    rotations: int
    skipped_bytes: int
    last_error: str
    finished: bool
