"""Reading container log files as the kubelet does: `<time> <stream> <tag> <content>` lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LINE = re.compile(
    rb"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(?:Z|[+-]\d\d:\d\d)) "
    rb"(?P<stream>stdout|stderr) (?P<tag>[FP])(?: (?P<content>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record."""

    time: str
    stream: str
    partial: bool
    content: bytes


def log_lines(file: Path) -> list[LogLine]:
    """Every record of a log file; AssertionError names the first line that is not one."""
    records = []
    content = file.read_bytes()
    assert not content or content.endswith(b"\n"), f"{file} ends in the middle of a record"
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        found = LINE.fullmatch(line)
        assert found, f"{file}:{number} is no CRI log record: {line[:200]!r}"
        records.append(
            LogLine(
                found["time"].decode(),
                found["stream"].decode(),
                found["tag"] == b"P",
                found["content"] or b"",
            )
        )
    return records


def joined(records: list[LogLine], stream: str) -> list[bytes]:
    """The lines of one stream with partial records put together; a last one without an end is included."""
    lines, current, is_open = [], b"", False
    for record in records:
        if record.stream != stream:
            continue
        current, is_open = current + record.content, record.partial
        if not is_open:
            lines.append(current)
            current = b""
    return [*lines, current] if is_open else lines
