"""The formats of cgroup control files, parsed. Pure; an empty file, which stands for a missing one, reads as nothing.

Formats: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1, accounting/psi.rst.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from cri.stats.usage import DeviceIo, Pressure, Stalls

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIMITED_BYTES = 1 << 62
"""Version 1 shows no limit as the largest number of whole pages; nothing real comes near it."""
_MICROSECOND = 1000
_PRESSURE = re.compile(rb"(some|full) avg10=(\S+) avg60=(\S+) avg300=(\S+) total=(\d+)")
"""One expression for a whole line: every container has three such files, and splitting costs more."""


def pairs(content: bytes) -> Mapping[bytes, bytes]:
    """Lines of "key value", as in memory.stat and cpu.stat."""
    words = iter(content.split())
    return dict(zip(words, words, strict=False))


def number(content: bytes) -> int:
    """A file of one number; 0 when it is empty."""
    return int(content) if content else 0


def limit(content: bytes) -> int | None:
    """A file of one limit; None for "max", for version 1's huge number, and where there is no such file."""
    text = content.strip()
    if not text.isdigit():
        return None
    value = int(text)
    return None if value >= UNLIMITED_BYTES else value


@functools.lru_cache(maxsize=1024)
def stalls(content: bytes) -> Stalls | None:
    """A pressure file; None where pressure is not measured. Idle cgroups show the same text for hours."""
    lines = {kind: _pressure(*figures) for kind, *figures in _PRESSURE.findall(content)}
    return Stalls(lines[b"some"], lines.get(b"full")) if b"some" in lines else None


def _pressure(avg10: bytes, avg60: bytes, avg300: bytes, total: bytes) -> Pressure:
    return Pressure(int(total) * _MICROSECOND, float(avg10), float(avg60), float(avg300))


def devices_v1(sizes: bytes, counts: bytes) -> tuple[DeviceIo, ...]:
    """blkio.throttle.io_service_bytes and io_serviced: lines of "major:minor operation value" and a total."""
    bytes_by_device, counts_by_device = _operations(sizes), _operations(counts)
    return tuple(
        DeviceIo(
            major=int(major),
            minor=int(minor),
            read_bytes=moved.get(b"Read", 0),
            written_bytes=moved.get(b"Write", 0),
            reads=counts_by_device.get((major, minor), {}).get(b"Read", 0),
            writes=counts_by_device.get((major, minor), {}).get(b"Write", 0),
        )
        for (major, minor), moved in bytes_by_device.items()
    )


def devices_v2(content: bytes) -> tuple[DeviceIo, ...]:
    """io.stat: lines of "major:minor key=value ..."; a device without any I/O may stand there alone."""
    found = []
    for line in content.splitlines():
        device, *fields = line.split()
        values = dict(field.split(b"=", 1) for field in fields if b"=" in field)
        if b":" not in device or not values:
            continue
        major, minor = device.split(b":", 1)
        counters = (int(values.get(key, 0)) for key in (b"rbytes", b"wbytes", b"rios", b"wios"))
        found.append(DeviceIo(int(major), int(minor), *counters))
    return tuple(found)


def _operations(content: bytes) -> dict[tuple[bytes, bytes], dict[bytes, int]]:
    found: dict[tuple[bytes, bytes], dict[bytes, int]] = {}
    for line in content.splitlines():
        words = line.split()
        if len(words) == 3 and b":" in words[0]:  # the line of the total has two words
            major, minor = words[0].split(b":", 1)
            found.setdefault((major, minor), {})[words[1]] = int(words[2])
    return found
