"""Stats and all metrics of a pod and its container as a kernel with cgroup version 2 recorded them under a known load.

`python -m e2e.record_cgroups` made the recording; the figures here are those of its files, worked out by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.wire import criv1
from cri.stats import messages, pod_metrics
from cri.stats.cgroup import Cgroup, open_cgroup
from cri.stats.descriptors import HUGETLB_MAX_USAGE, LAST_SEEN, descriptors
from cri.stats.held_files import Allowance
from cri.stats.pod_metrics import Limits, container_samples, filesystem_samples, network_samples
from cri.stats.sampler import FullReading
from cri.stats.usage import InterfaceUse, LayerUse, NetworkUse, ProcessDetails, Volume
from tests.stats.cgroup_trees import write

RECORDED = json.loads(Path(__file__).with_name("recorded_v2.json").read_text())
MEBIBYTE = 1 << 20
LIMITS = Limits(
    cpu_period=100_000,
    cpu_quota=50_000,
    cpu_shares=512,
    memory=48 * MEBIBYTE,
    memory_and_swap=64 * MEBIBYTE,
)
"""What the recorded container was given."""
NETWORK = NetworkUse(9, (InterfaceUse("eth0", 10, 11, 12, 13, 14, 15, 16, 17),), "eth0")
LAYER = LayerUse(9, 8 * MEBIBYTE, 2)
VOLUME = Volume("/layers", "/dev/vda", 1 << 40, 5000, 4000)

DISK, PROJECT_DISK = ("254:0",), ("254:16",)
METRICS: dict[tuple[str, ...], int] = {
    ("cpu_usage_seconds_total", "total"): 31,
    ("cpu_user_seconds_total",): 22,
    ("cpu_system_seconds_total",): 9,
    ("cpu_cfs_periods_total",): 616,
    ("cpu_cfs_throttled_periods_total",): 596,
    ("cpu_cfs_throttled_seconds_total",): 62,
    ("memory_usage_bytes",): 34_226_176,
    ("memory_working_set_bytes",): 34_226_176,
    ("memory_rss",): 25_464_832,
    ("memory_cache",): 8_388_608,
    ("memory_mapped_file",): 0,
    ("memory_swap",): 94_208,
    ("memory_kernel_usage",): 364_544,
    ("memory_max_usage_bytes",): 48 * MEBIBYTE,
    ("memory_failcnt",): 439,
    ("memory_failures_total", "pgfault", "container"): 12_823,
    ("memory_failures_total", "pgfault", "hierarchy"): 12_823,
    ("memory_failures_total", "pgmajfault", "container"): 7,
    ("memory_failures_total", "pgmajfault", "hierarchy"): 7,
    ("oom_events_total",): 1,
    ("fs_reads_total", *DISK): 74,
    ("fs_reads_bytes_total", *DISK): 8_429_568,
    ("fs_writes_total", *DISK): 4105,
    ("fs_writes_bytes_total", *DISK): 24 * MEBIBYTE,
    ("blkio_device_usage_total", *DISK, "254", "0", "Read"): 8_429_568,
    ("blkio_device_usage_total", *DISK, "254", "0", "Write"): 24 * MEBIBYTE,
    ("fs_reads_total", *PROJECT_DISK): 0,
    ("fs_reads_bytes_total", *PROJECT_DISK): 0,
    ("fs_writes_total", *PROJECT_DISK): 1,
    ("fs_writes_bytes_total", *PROJECT_DISK): 0,
    ("blkio_device_usage_total", *PROJECT_DISK, "254", "16", "Read"): 0,
    ("blkio_device_usage_total", *PROJECT_DISK, "254", "16", "Write"): 0,
    ("fs_usage_bytes", "/dev/vda"): 8 * MEBIBYTE,
    ("fs_limit_bytes", "/dev/vda"): 1 << 40,
    ("fs_inodes_total", "/dev/vda"): 5000,
    ("fs_inodes_free", "/dev/vda"): 4000,
    ("pressure_cpu_waiting_seconds_total",): 39,
    ("pressure_cpu_stalled_seconds_total",): 37,
    ("pressure_memory_waiting_seconds_total",): 1,
    ("pressure_memory_stalled_seconds_total",): 1,
    ("pressure_io_waiting_seconds_total",): 0,
    ("pressure_io_stalled_seconds_total",): 0,
    ("processes",): 3,
    ("threads",): 3,
    ("threads_max",): 0,
    ("file_descriptors",): 12,
    ("sockets",): 2,
    ("ulimits_soft", "max_open_files"): 1024,
    ("spec_cpu_period",): 100_000,
    ("spec_cpu_quota",): 50_000,
    ("spec_cpu_shares",): 512,
    ("spec_memory_limit_bytes",): 48 * MEBIBYTE,
    ("spec_memory_reservation_limit_bytes",): 0,
    ("spec_memory_swap_limit_bytes",): 64 * MEBIBYTE,
    ("hugetlb_usage_bytes", "1GB"): 0,
    ("hugetlb_usage_bytes", "2MB"): 0,
    ("start_time_seconds",): 1_700_000_000,
    ("network_receive_bytes_total", "eth0"): 10,
    ("network_receive_packets_total", "eth0"): 11,
    ("network_receive_errors_total", "eth0"): 12,
    ("network_receive_packets_dropped_total", "eth0"): 13,
    ("network_transmit_bytes_total", "eth0"): 14,
    ("network_transmit_packets_total", "eth0"): 15,
    ("network_transmit_errors_total", "eth0"): 16,
    ("network_transmit_packets_dropped_total", "eth0"): 17,
}
"""By name without its prefix, and extra labels."""


@pytest.fixture
def container(tmp_path: Path) -> Cgroup:
    return open_cgroup({"": write(tmp_path / "container", RECORDED["container"])}, Allowance())


@pytest.fixture
def pod(tmp_path: Path) -> Cgroup:
    return open_cgroup({"": write(tmp_path / "pod", RECORDED["pod"])}, Allowance())


def psi(some: tuple[float, ...], full: tuple[float, ...]) -> criv1.PsiStats:
    """A pressure file's two lines: total in microseconds, then the three averages."""
    lines = [
        criv1.PsiData(Total=int(total) * 1000, Avg10=ten, Avg60=sixty, Avg300=three_hundred)
        for total, ten, sixty, three_hundred in (some, full)
    ]
    return criv1.PsiStats(Some=lines[0], Full=lines[1])


def test_the_containers_stats(container: Cgroup):
    usage = container.usage()
    stats = messages.container_stats(
        criv1.ContainerAttributes(id="abc"), usage, 500_000_000, LAYER, "/layers"
    )
    assert stats.cpu.usage_core_nano_seconds.value == 31_237_595_000
    assert stats.cpu.usage_nano_cores.value == 500_000_000
    assert stats.cpu.psi == psi((39_776_299, 47.29, 39.40, 11.98), (37_037_504, 46.13, 36.90, 11.15))
    memory = stats.memory
    assert memory.usage_bytes.value == memory.working_set_bytes.value == 34_226_176
    assert memory.available_bytes.value == 48 * MEBIBYTE - 34_226_176
    assert memory.rss_bytes.value == 25_464_832
    assert (memory.page_faults.value, memory.major_page_faults.value) == (12_823, 7)
    assert memory.psi == psi((1_232_345, 0.04, 0.80, 0.34), (1_232_345, 0.04, 0.80, 0.34))
    assert stats.io.psi == psi((80_303, 0.0, 0.03, 0.0), (79_148, 0.0, 0.03, 0.0))
    assert stats.swap.swap_usage_bytes.value == 94_208
    assert stats.swap.swap_available_bytes.value == 16 * MEBIBYTE - 94_208
    assert {stats.cpu.timestamp, memory.timestamp, stats.swap.timestamp, stats.io.timestamp} == {usage.at}
    assert stats.writable_layer.used_bytes.value == 8 * MEBIBYTE


def test_the_pods_stats(pod: Cgroup):
    stats = messages.pod_stats(
        criv1.PodSandboxAttributes(id="p"), pod.usage(), None, NETWORK, pod.threads(), []
    )
    linux = stats.linux
    assert linux.cpu.usage_core_nano_seconds.value == 33_279_206_000
    assert linux.memory.working_set_bytes.value == 34_398_208
    assert linux.memory.rss_bytes.value == 25_468_928
    assert not linux.memory.HasField("available_bytes"), "this pod has no limit of its own"
    assert linux.process.process_count.value == 4
    assert linux.io.psi == psi((58_515, 0.0, 0.02, 0.0), (56_909, 0.0, 0.02, 0.0))
    assert linux.network.default_interface.rx_bytes.value == 10


def test_every_metric_of_the_container(container: Cgroup, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pod_metrics, "device_name", lambda major, minor: f"{major}:{minor}")
    processes = ProcessDetails(len(container.processes()), 12, 2, 1024)
    reading = FullReading(container.usage(), container.details(), container.threads(), processes)
    samples = {
        (descriptor.name.removeprefix("container_"), *labels): value
        for descriptor, value, labels in (
            *container_samples(reading, LIMITS, 1_700_000_000_000_000_000),
            *filesystem_samples(LAYER, VOLUME),
            *network_samples(NETWORK),
        )
    }
    assert samples.pop(("last_seen",)) == reading.usage.at // 1_000_000_000
    assert samples == METRICS
    names = {f"container_{name}" for name, *_ in METRICS} | {LAST_SEEN.name}
    assert {each.name for each in descriptors()} - names == {HUGETLB_MAX_USAGE.name}, (
        "version 2 does not count it"
    )
