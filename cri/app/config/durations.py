"""Durations as Go writes them ("1h30m", "5m0s", "250ms"), because containerd's configuration does. Pure.

Grammar: Go's time.ParseDuration: a sequence of decimal numbers, each with a unit; "0" needs none.
"""

from __future__ import annotations

import re
from typing import Self

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"[+-]?(?:0|(?:{_PART.pattern})+)", re.ASCII)
_LOWER_UNITS = (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


class Duration(float):
    """Seconds that print and parse as a Go duration."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "5m0s". Raises ValueError for anything that Go would not read as a duration."""
        if not _WHOLE.fullmatch(text):
            raise ValueError(f'"{text}" is not a duration such as "30s", "5m0s" or "1h30m"')
        seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
        return cls(-seconds if text.startswith("-") else seconds)

    def __str__(self) -> str:
        seconds = abs(float(self))
        sign = "-" if self < 0 else ""
        if seconds == 0:
            return "0s"
        if seconds < 1:
            return sign + _below_a_second(seconds)
        whole, fraction = divmod(round(seconds * 1e9), 10**9)
        minutes, whole = divmod(whole, 60)
        hours, minutes = divmod(minutes, 60)
        tail = f".{fraction:09d}".rstrip("0") if fraction else ""
        head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
        return f"{sign}{head}{whole}{tail}s"

    def __repr__(self) -> str:
        return f"Duration({self})"


def _below_a_second(seconds: float) -> str:
    for unit, size in _LOWER_UNITS:
        if seconds >= size or unit == "ns":
            return f"{round(seconds / size, 6):g}{unit}"
    raise AssertionError("unreachable: the last unit takes all")
