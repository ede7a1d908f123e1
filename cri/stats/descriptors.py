"""The metrics of ListPodSandboxMetrics: name, help, kind, labels. The one table that declares them.

Names and meanings are those of the series that the kubelet's built-in cAdvisor exposed, so that rules and dashboards
go on working; so are the labels. The kubelet drops every metric that is not declared here. CRI's samples are whole
numbers: times are whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS = ("container", "id", "image", "name", "namespace", "pod")
"""Labels of every sample: Kubernetes' container name, cgroup-like id, image, runtime's id, and the pod."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One metric."""

    name: str
    help: str
    kind: criv1.MetricType.ValueType
    extra_labels: tuple[str, ...] = ()
    """Labels after `LABELS`."""

    @property
    def message(self) -> criv1.MetricDescriptor:
        """As ListMetricDescriptors declares it."""
        return criv1.MetricDescriptor(
            name=self.name, help=self.help, label_keys=(*LABELS, *self.extra_labels)
        )


def _counter(name: str, text: str, *labels: str) -> Descriptor:
    return Descriptor(f"container_{name}", text, criv1.COUNTER, labels)


def _gauge(name: str, text: str, *labels: str) -> Descriptor:
    return Descriptor(f"container_{name}", text, criv1.GAUGE, labels)


CPU_USAGE = _counter("cpu_usage_seconds_total", "Processor time used, in seconds.", "cpu")
CPU_USER = _counter("cpu_user_seconds_total", "Processor time used in user mode, in seconds.")
CPU_SYSTEM = _counter("cpu_system_seconds_total", "Processor time used in kernel mode, in seconds.")
CPU_PERIODS = _counter("cpu_cfs_periods_total", "Enforcement periods of the CPU quota that have passed.")
CPU_THROTTLED_PERIODS = _counter(
    "cpu_cfs_throttled_periods_total", "Enforcement periods in which the CPU quota was used up."
)
CPU_THROTTLED = _counter(
    "cpu_cfs_throttled_seconds_total", "Time for which the CPU quota held tasks back, in seconds."
)

MEMORY_USAGE = _gauge("memory_usage_bytes", "Memory charged to the container, page cache included.")
MEMORY_WORKING_SET = _gauge(
    "memory_working_set_bytes", "Memory charged less inactive page cache: what an eviction goes by."
)
MEMORY_RSS = _gauge("memory_rss", "Anonymous memory, in bytes.")
MEMORY_CACHE = _gauge("memory_cache", "Page cache, in bytes.")
MEMORY_MAPPED_FILE = _gauge("memory_mapped_file", "Page cache that is mapped by processes, in bytes.")
MEMORY_SWAP = _gauge("memory_swap", "Memory that is swapped out, in bytes.")
MEMORY_KERNEL = _gauge("memory_kernel_usage", "Kernel memory charged to the container, in bytes.")
MEMORY_MAX_USAGE = _gauge("memory_max_usage_bytes", "Most memory that was ever charged.")
MEMORY_FAILCNT = _counter("memory_failcnt", "How often the memory limit was hit.")
MEMORY_FAILURES = _counter(
    "memory_failures_total",
    "Page faults, by kind and by whether cgroups below count.",
    "failure_type",
    "scope",
)
OOM_EVENTS = _counter("oom_events_total", "Processes killed for want of memory.")

FS_USAGE = _gauge("fs_usage_bytes", "Bytes written into the container's root file system.", "device")
FS_LIMIT = _gauge("fs_limit_bytes", "Size of the file system that holds the writable layer.", "device")
FS_INODES_TOTAL = _gauge(
    "fs_inodes_total", "Inodes of the file system that holds the writable layer.", "device"
)
FS_INODES_FREE = _gauge(
    "fs_inodes_free", "Free inodes of the file system that holds the writable layer.", "device"
)
FS_READS = _counter("fs_reads_total", "Reads from the device.", "device")
FS_READ_BYTES = _counter("fs_reads_bytes_total", "Bytes read from the device.", "device")
FS_WRITES = _counter("fs_writes_total", "Writes to the device.", "device")
FS_WRITTEN_BYTES = _counter("fs_writes_bytes_total", "Bytes written to the device.", "device")
BLKIO_USAGE = _counter(
    "blkio_device_usage_total",
    "Bytes moved to and from the device, by operation.",
    *("device", "major", "minor", "operation"),
)

NETWORK_RX_BYTES = _counter("network_receive_bytes_total", "Bytes received.", "interface")
NETWORK_RX_PACKETS = _counter("network_receive_packets_total", "Packets received.", "interface")
NETWORK_RX_DROPPED = _counter(
    "network_receive_packets_dropped_total", "Packets dropped on the way in.", "interface"
)
NETWORK_RX_ERRORS = _counter("network_receive_errors_total", "Errors on receiving.", "interface")
NETWORK_TX_BYTES = _counter("network_transmit_bytes_total", "Bytes sent.", "interface")
NETWORK_TX_PACKETS = _counter("network_transmit_packets_total", "Packets sent.", "interface")
NETWORK_TX_DROPPED = _counter(
    "network_transmit_packets_dropped_total", "Packets dropped on the way out.", "interface"
)
NETWORK_TX_ERRORS = _counter("network_transmit_errors_total", "Errors on sending.", "interface")

HUGETLB_USAGE = _gauge("hugetlb_usage_bytes", "Huge pages in use, in bytes.", "pagesize")
HUGETLB_MAX_USAGE = _gauge("hugetlb_max_usage_bytes", "Most huge pages ever in use, in bytes.", "pagesize")

CPU_WAITING = _counter(
    "pressure_cpu_waiting_seconds_total", "Time in which some tasks waited for a processor, in seconds."
)
CPU_STALLED = _counter(
    "pressure_cpu_stalled_seconds_total", "Time in which all tasks waited for a processor, in seconds."
)
MEMORY_WAITING = _counter(
    "pressure_memory_waiting_seconds_total", "Time in which some tasks waited for memory, in seconds."
)
MEMORY_STALLED = _counter(
    "pressure_memory_stalled_seconds_total", "Time in which all tasks waited for memory, in seconds."
)
IO_WAITING = _counter(
    "pressure_io_waiting_seconds_total", "Time in which some tasks waited for disks, in seconds."
)
IO_STALLED = _counter(
    "pressure_io_stalled_seconds_total", "Time in which all tasks waited for disks, in seconds."
)

PROCESSES = _gauge("processes", "Processes in the container.")
THREADS = _gauge("threads", "Threads in the container.")
THREADS_MAX = _gauge("threads_max", "Most threads that the container may have; 0 is no limit.")
FILE_DESCRIPTORS = _gauge("file_descriptors", "Open file descriptors of the container's processes.")
SOCKETS = _gauge("sockets", "Open sockets of the container's processes.")
ULIMITS_SOFT = _gauge("ulimits_soft", "Soft resource limits of the container's first process.", "ulimit")

SPEC_CPU_PERIOD = _gauge("spec_cpu_period", "Enforcement period of the CPU quota, in microseconds.")
SPEC_CPU_QUOTA = _gauge("spec_cpu_quota", "CPU quota in each period, in microseconds; none without a quota.")
SPEC_CPU_SHARES = _gauge("spec_cpu_shares", "CPU shares.")
SPEC_MEMORY_LIMIT = _gauge("spec_memory_limit_bytes", "Memory limit; 0 is none.")
SPEC_MEMORY_RESERVATION = _gauge(
    "spec_memory_reservation_limit_bytes", "Memory that reclaim spares; 0 is none."
)
SPEC_MEMORY_SWAP_LIMIT = _gauge(
    "spec_memory_swap_limit_bytes", "Limit of memory and swap together; 0 is none."
)

START_TIME = _gauge("start_time_seconds", "When the container was started, in Unix seconds.")
LAST_SEEN = _gauge("last_seen", "When the container was measured, in Unix seconds.")


def descriptors() -> Iterator[Descriptor]:
    """Every metric declared above."""
    return (value for value in globals().values() if isinstance(value, Descriptor))
