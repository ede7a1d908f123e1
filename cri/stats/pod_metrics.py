"""Readings as the samples of ListPodSandboxMetrics. Pure.

What this kernel does not count gets no sample: a zero would claim to be measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.stats import descriptors as metric
from cri.stats.volumes import device_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.stats.descriptors import Descriptor
    from cri.stats.sampler import FullReading
    from cri.stats.usage import LayerUse, NetworkUse, Stalls, Volume

SECOND = 1_000_000_000
DEFAULT_CPU_PERIOD = 100_000
"""Microseconds; the kernel's own while nothing else was asked for."""
DEFAULT_CPU_SHARES = 1024

Sample = tuple["Descriptor", int, tuple[str, ...]]
"""What is measured, the value, and the values of the extra labels."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose samples they are: the values of the labels that all of them have."""

    container: str
    id: str
    image: str
    name: str
    namespace: str
    pod: str

    @property
    def label_values(self) -> tuple[str, ...]:
        """In the order of `descriptors.LABELS`."""
        return (self.container, self.id, self.image, self.name, self.namespace, self.pod)


@dataclass(frozen=True, slots=True)
class Limits:
    """What was asked for, as the container's spec has it; 0 is unset."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory: int = 0
    memory_reservation: int = 0
    memory_and_swap: int = 0


def container_samples(reading: FullReading, limits: Limits, started_at: int) -> Iterator[Sample]:
    """Everything about a running container but its file system."""
    yield from _cpu(reading)
    yield from _memory(reading)
    yield from _disks(reading)
    yield from _pressure(reading)
    yield from _processes(reading)
    yield from _limits(limits)
    for pages in reading.details.hugepages:
        yield metric.HUGETLB_USAGE, pages.usage, (pages.page_size,)
        if pages.max_usage is not None:
            yield metric.HUGETLB_MAX_USAGE, pages.max_usage, (pages.page_size,)
    yield metric.START_TIME, started_at // SECOND, ()
    yield metric.LAST_SEEN, reading.usage.at // SECOND, ()


def filesystem_samples(layer: LayerUse | None, volume: Volume | None) -> Iterator[Sample]:
    """The writable layer and the file system that it lies on."""
    if volume is None:
        return
    device = (volume.device,)
    if layer is not None:
        yield metric.FS_USAGE, layer.used_bytes, device
    yield metric.FS_LIMIT, volume.size, device
    yield metric.FS_INODES_TOTAL, volume.inodes, device
    yield metric.FS_INODES_FREE, volume.free_inodes, device


def network_samples(network: NetworkUse) -> Iterator[Sample]:
    """A pod's interfaces."""
    for interface in network.interfaces:
        name = (interface.name,)
        yield metric.NETWORK_RX_BYTES, interface.rx_bytes, name
        yield metric.NETWORK_RX_PACKETS, interface.rx_packets, name
        yield metric.NETWORK_RX_DROPPED, interface.rx_dropped, name
        yield metric.NETWORK_RX_ERRORS, interface.rx_errors, name
        yield metric.NETWORK_TX_BYTES, interface.tx_bytes, name
        yield metric.NETWORK_TX_PACKETS, interface.tx_packets, name
        yield metric.NETWORK_TX_DROPPED, interface.tx_dropped, name
        yield metric.NETWORK_TX_ERRORS, interface.tx_errors, name


def _cpu(reading: FullReading) -> Iterator[Sample]:
    details = reading.details
    yield metric.CPU_USAGE, reading.usage.cpu // SECOND, ("total",)
    yield metric.CPU_USER, details.user // SECOND, ()
    yield metric.CPU_SYSTEM, details.system // SECOND, ()
    yield metric.CPU_PERIODS, details.throttling.periods, ()
    yield metric.CPU_THROTTLED_PERIODS, details.throttling.throttled_periods, ()
    yield metric.CPU_THROTTLED, details.throttling.throttled // SECOND, ()


def _memory(reading: FullReading) -> Iterator[Sample]:
    memory, details = reading.usage.memory, reading.details
    yield metric.MEMORY_USAGE, memory.usage, ()
    yield metric.MEMORY_WORKING_SET, memory.working_set, ()
    yield metric.MEMORY_RSS, memory.rss, ()
    yield metric.MEMORY_CACHE, memory.cache, ()
    yield metric.MEMORY_MAPPED_FILE, memory.mapped_file, ()
    yield metric.MEMORY_SWAP, memory.swap or 0, ()
    yield metric.MEMORY_KERNEL, details.kernel_memory, ()
    yield metric.MEMORY_MAX_USAGE, details.max_memory, ()
    yield metric.MEMORY_FAILCNT, details.memory_limit_hits, ()
    yield metric.OOM_EVENTS, details.oom_kills, ()
    for scope in ("container", "hierarchy"):  # a container has no cgroups below, unless it makes some itself
        yield metric.MEMORY_FAILURES, memory.page_faults, ("pgfault", scope)
        yield metric.MEMORY_FAILURES, memory.major_page_faults, ("pgmajfault", scope)


def _disks(reading: FullReading) -> Iterator[Sample]:
    for io in reading.details.devices:
        name = device_name(io.major, io.minor)
        device = (name,)
        yield metric.FS_READS, io.reads, device
        yield metric.FS_READ_BYTES, io.read_bytes, device
        yield metric.FS_WRITES, io.writes, device
        yield metric.FS_WRITTEN_BYTES, io.written_bytes, device
        numbers = (name, str(io.major), str(io.minor))
        yield metric.BLKIO_USAGE, io.read_bytes, (*numbers, "Read")
        yield metric.BLKIO_USAGE, io.written_bytes, (*numbers, "Write")


def _pressure(reading: FullReading) -> Iterator[Sample]:
    usage = reading.usage
    yield from _stalls(usage.cpu_stalls, metric.CPU_WAITING, metric.CPU_STALLED)
    yield from _stalls(usage.memory_stalls, metric.MEMORY_WAITING, metric.MEMORY_STALLED)
    yield from _stalls(usage.io_stalls, metric.IO_WAITING, metric.IO_STALLED)


def _stalls(stalls: Stalls | None, waiting: Descriptor, stalled: Descriptor) -> Iterator[Sample]:
    if stalls is None:
        return
    yield waiting, stalls.some.total // SECOND, ()
    if stalls.full is not None:
        yield stalled, stalls.full.total // SECOND, ()


def _processes(reading: FullReading) -> Iterator[Sample]:
    processes = reading.processes
    yield metric.PROCESSES, processes.processes, ()
    yield metric.THREADS, reading.threads, ()
    yield metric.THREADS_MAX, reading.details.threads_limit or 0, ()
    yield metric.FILE_DESCRIPTORS, processes.file_descriptors, ()
    yield metric.SOCKETS, processes.sockets, ()
    if processes.open_files_limit is not None:
        yield metric.ULIMITS_SOFT, processes.open_files_limit, ("max_open_files",)


def _limits(limits: Limits) -> Iterator[Sample]:
    yield metric.SPEC_CPU_PERIOD, limits.cpu_period or DEFAULT_CPU_PERIOD, ()
    if limits.cpu_quota > 0:
        yield metric.SPEC_CPU_QUOTA, limits.cpu_quota, ()
    yield metric.SPEC_CPU_SHARES, limits.cpu_shares or DEFAULT_CPU_SHARES, ()
    yield metric.SPEC_MEMORY_LIMIT, max(limits.memory, 0), ()
    yield metric.SPEC_MEMORY_RESERVATION, max(limits.memory_reservation, 0), ()
    yield metric.SPEC_MEMORY_SWAP_LIMIT, max(limits.memory_and_swap, 0), ()
