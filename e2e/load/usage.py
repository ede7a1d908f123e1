"""What a server's process uses, and whether that grows."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at a process, and at the mounts of its node."""

    resident_kib: int
    files: int
    threads: int
    mounts: int


def usage(pid: int, directory: Path) -> Usage:
    """What the process uses now; `directory` is the node's."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Usage(
        resident_kib=int(status["VmRSS"].split()[0]),
        files=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
        mounts=Path("/proc/self/mountinfo").read_text().count(f" {directory}/"),
    )


def processor_seconds(pid: int) -> float:
    """User and system time so far (proc(5), /proc/PID/stat)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def slopes(samples: Sequence[tuple[int, Usage]]) -> dict[str, float]:
    """Growth of each figure per thousand pods, by least squares over (pods so far, usage)."""
    return {
        field.name: round(1000 * _slope([(pods, getattr(each, field.name)) for pods, each in samples]), 2)
        for field in fields(Usage)
    }


def _slope(points: Sequence[tuple[float, float]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
