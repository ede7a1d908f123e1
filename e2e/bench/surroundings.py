"""What the figures were taken on: versions, date, machine, and whether it had other things to do."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

BUSY_SHARE = 0.25
"""Other work that keeps more than this share of the processors busy makes the figures doubtful."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Facts for the head of a report."""

    date: str
    cri_shim: str
    containerd: str
    runc: str
    python: str
    kernel: str
    processors: int
    load: float

    @property
    def warning(self) -> str:
        """What to say of a machine that was not idle at the start; empty if it was."""
        if self.load <= BUSY_SHARE * self.processors:
            return ""
        return (
            f"the machine is loaded ({self.load:.1f} processes wanted its {self.processors} processors in the "
            "minute before): the figures are of little worth, the ratios of some"
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "warning": self.warning}


def surroundings() -> Surroundings:
    """Look around; call it before the measurements."""
    return Surroundings(
        date=datetime.now(UTC).date().isoformat(),
        cri_shim=version("cri-shim"),
        containerd=_first_line("containerd", "--version").split()[2],
        runc=_first_line("runc", "--version").split()[-1],
        python=platform.python_version(),
        kernel=platform.release(),
        processors=os.cpu_count() or 1,
        load=float(Path("/proc/loadavg").read_text().split()[0]),
    )


def _first_line(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
