"""Which boot of the machine this is: pids, namespaces and FIFOs from another boot are gone."""

from __future__ import annotations

import functools


@functools.cache
def boot_id() -> str:
    """The random UUID that the kernel drew at this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
