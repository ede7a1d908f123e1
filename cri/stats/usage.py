"""What is measured of one cgroup, whatever version it has. Plain values; who reads them is beside this module.

`Usage` is read for every stats request and so holds only what few files tell; `Details` is what the metrics need on
top. Units are those of CRI: bytes, nanoseconds. None stands for what this kernel does not count or limit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Pressure:
    """One line of a pressure file (kernel: Documentation/accounting/psi.rst)."""

    total: int
    """Time lost, in nanoseconds."""
    avg10: float
    """Per cent of the last 10 seconds, and so on."""
    avg60: float
    avg300: float


@dataclass(frozen=True, slots=True)
class Stalls:
    """A pressure file: time in which some tasks waited, and in which none got on."""

    some: Pressure
    full: Pressure | None = None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes of memory, the cgroups below included."""

    usage: int
    """All that is charged, page cache included."""
    inactive_file: int
    """Page cache that can be had back at once."""
    rss: int
    """Anonymous memory, transparent huge pages included."""
    cache: int
    mapped_file: int
    page_faults: int
    major_page_faults: int
    limit: int | None = None
    swap: int | None = None
    swap_limit: int | None = None
    """How much of it may be swapped out."""

    @property
    def working_set(self) -> int:
        """What an eviction could not get back by dropping cache; the kubelet's definition."""
        return max(self.usage - self.inactive_file, 0)

    @property
    def available(self) -> int | None:
        """What may still be used, None without a limit."""
        return None if self.limit is None else max(self.limit - self.working_set, 0)

    @property
    def swap_available(self) -> int | None:
        """What may still be swapped out, None where that is not counted or not limited."""
        if self.swap is None or self.swap_limit is None:
            return None
        return max(self.swap_limit - self.swap, 0)


@dataclass(frozen=True, slots=True)
class Usage:
    """One reading of a cgroup."""

    at: int
    """Unix nanoseconds."""
    cpu: int
    """Nanoseconds of processor time since the cgroup was made."""
    memory: MemoryUse
    cpu_stalls: Stalls | None = None
    memory_stalls: Stalls | None = None
    io_stalls: Stalls | None = None


def combined(usages: Sequence[Usage]) -> Usage:
    """What several cgroups use together, where no cgroup holds just these; none use nothing.

    There is no limit for them together, and stalls cannot be added up.
    """
    memories = [usage.memory for usage in usages]
    swaps = [memory.swap for memory in memories if memory.swap is not None]
    return Usage(
        at=max((usage.at for usage in usages), default=time.time_ns()),
        cpu=sum(usage.cpu for usage in usages),
        memory=MemoryUse(
            usage=sum(memory.usage for memory in memories),
            inactive_file=sum(memory.usage - memory.working_set for memory in memories),
            rss=sum(memory.rss for memory in memories),
            cache=sum(memory.cache for memory in memories),
            mapped_file=sum(memory.mapped_file for memory in memories),
            page_faults=sum(memory.page_faults for memory in memories),
            major_page_faults=sum(memory.major_page_faults for memory in memories),
            swap=sum(swaps) if swaps else None,
        ),
    )


@dataclass(frozen=True, slots=True)
class Throttling:
    """What a CPU quota did."""

    periods: int
    throttled_periods: int
    throttled: int
    """Nanoseconds."""


@dataclass(frozen=True, slots=True)
class DeviceIo:
    """What a cgroup had one block device do."""

    major: int
    minor: int
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class Hugepages:
    """Use of huge pages of one size."""

    page_size: str
    """As in the file's name: 2MB, 1GB."""
    usage: int
    max_usage: int | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What the metrics tell beyond `Usage`."""

    user: int
    """Nanoseconds of processor time in user mode."""
    system: int
    throttling: Throttling
    kernel_memory: int
    max_memory: int
    memory_limit_hits: int
    oom_kills: int
    threads_limit: int | None = None
    devices: tuple[DeviceIo, ...] = ()
    hugepages: tuple[Hugepages, ...] = ()


@dataclass(frozen=True, slots=True)
class InterfaceUse:
    """One network interface's counters."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """The interfaces of a network namespace, loopback left out."""

    at: int
    interfaces: tuple[InterfaceUse, ...]
    default: str = ""
    """Name of the interface that the kubelet takes for the pod's own; empty when there is none."""


@dataclass(frozen=True, slots=True)
class LayerUse:
    """What a container has written into its root file system."""

    at: int
    used_bytes: int
    inodes: int


@dataclass(frozen=True, slots=True)
class ProcessDetails:
    """The processes of a container, counted one by one."""

    processes: int
    file_descriptors: int
    sockets: int
    open_files_limit: int | None = None
    """Soft limit of the first process; None is unlimited or unknown."""


@dataclass(frozen=True, slots=True)
class Volume:
    """The file system that writable layers lie on."""

    mountpoint: str
    device: str
    size: int
    inodes: int
    free_inodes: int
