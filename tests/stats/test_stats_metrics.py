"""The 56 metrics: declared, explained, filled; and the stats messages."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from api.wire import criv1
from cri.stats import messages
from cri.stats.cgroup import open_cgroup
from cri.stats.descriptors import LABELS, descriptors
from cri.stats.encoded_samples import encoded_samples
from cri.stats.held_files import Allowance
from cri.stats.pod_metrics import (
    Limits,
    Subject,
    container_samples,
    filesystem_samples,
    network_samples,
)
from cri.stats.process_tree import process_details
from cri.stats.sampler import FullReading
from cri.stats.usage import InterfaceUse, LayerUse, NetworkUse, ProcessDetails
from cri.stats.volumes import device_name, volume_of
from tests.stats.cgroup_trees import write_v1, write_v2

EXPECTED: str = """
blkio_device_usage_total cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total
cpu_system_seconds_total cpu_usage_seconds_total cpu_user_seconds_total file_descriptors fs_inodes_free
fs_inodes_total fs_limit_bytes fs_reads_bytes_total fs_reads_total fs_usage_bytes fs_writes_bytes_total
fs_writes_total hugetlb_max_usage_bytes hugetlb_usage_bytes last_seen memory_cache memory_failcnt
memory_failures_total memory_kernel_usage memory_mapped_file memory_max_usage_bytes memory_rss memory_swap
memory_usage_bytes memory_working_set_bytes network_receive_bytes_total network_receive_errors_total
network_receive_packets_dropped_total network_receive_packets_total network_transmit_bytes_total
network_transmit_errors_total network_transmit_packets_dropped_total network_transmit_packets_total
oom_events_total pressure_cpu_stalled_seconds_total pressure_cpu_waiting_seconds_total
pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total pressure_memory_stalled_seconds_total
pressure_memory_waiting_seconds_total processes sockets spec_cpu_period spec_cpu_quota spec_cpu_shares
spec_memory_limit_bytes spec_memory_reservation_limit_bytes spec_memory_swap_limit_bytes start_time_seconds
threads threads_max ulimits_soft
"""
NETWORK = NetworkUse(9, (InterfaceUse("eth0", 1, 2, 3, 4, 5, 6, 7, 8),), "eth0")
SUBJECT = Subject("app", "/pod/abc", "image:1", "abc", "shop", "web")


def full_reading(directories: dict[str, Path]) -> FullReading:
    cgroup = open_cgroup(directories, Allowance())
    reading = FullReading(cgroup.usage(), cgroup.details(), cgroup.threads(), ProcessDetails(3, 12, 2, 1024))
    cgroup.close()
    return reading


def all_samples(directories: dict[str, Path]) -> list[criv1.Metric]:
    limits = Limits(cpu_quota=50_000)
    samples = [
        *container_samples(full_reading(directories), limits, 1_700_000_000_000_000_000),
        *filesystem_samples(LayerUse(9, 4096, 2), volume_of("/")),
        *network_samples(NETWORK),
    ]
    return list(criv1.ContainerMetrics.FromString(encoded_samples(SUBJECT, 9, samples)).metrics)


def test_the_names_are_those_of_cadvisor():
    assert sorted(each.name for each in descriptors()) == [f"container_{name}" for name in EXPECTED.split()]


def test_every_metric_has_help_and_labels():
    for each in descriptors():
        assert each.help.endswith("."), each.name
        assert list(each.message.label_keys)[: len(LABELS)] == list(LABELS)
        if each.name.endswith("_total"):
            assert each.kind == criv1.COUNTER or each.name == "container_fs_inodes_total", each.name


def test_version_2_fills_all_but_the_largest_use_of_huge_pages(tmp_path: Path):
    have = {sample.name for sample in all_samples(write_v2(tmp_path / "cgroup"))}
    assert {each.name for each in descriptors()} - have == {"container_hugetlb_max_usage_bytes"}


def test_version_1_fills_all_but_pressure(tmp_path: Path):
    have = {sample.name for sample in all_samples(write_v1(tmp_path))}
    missing = {each.name for each in descriptors()} - have
    assert missing == {each.name for each in descriptors() if "pressure" in each.name}


def test_samples_have_a_value_for_every_label(tmp_path: Path):
    declared = {each.name: each for each in descriptors()}
    for sample in all_samples(write_v2(tmp_path / "cgroup")):
        descriptor = declared[sample.name]
        assert len(sample.label_values) == len(descriptor.message.label_keys), sample.name
        assert sample.metric_type == descriptor.kind
    first = all_samples(write_v2(tmp_path / "again"))[0]
    assert list(first.label_values) == ["app", "/pod/abc", "image:1", "abc", "shop", "web", "total"]


def test_values_are_in_the_unit_of_the_name(tmp_path: Path):
    values = {sample.name: sample.value.value for sample in all_samples(write_v2(tmp_path / "cgroup"))}
    assert values["container_cpu_usage_seconds_total"] == 5
    assert values["container_cpu_cfs_throttled_seconds_total"] == 1
    assert values["container_start_time_seconds"] == 1_700_000_000
    assert values["container_spec_cpu_period"] == 100_000, "the kernel's own where none was asked for"
    assert values["container_threads_max"] == 0, "no limit"
    assert values["container_ulimits_soft"] == 1024


def test_a_limit_that_is_not_there_has_no_sample(tmp_path: Path):
    reading = full_reading(write_v2(tmp_path / "cgroup"))
    names = {descriptor.name for descriptor, _, _ in container_samples(reading, Limits(cpu_quota=-1), 0)}
    assert "container_spec_cpu_quota" not in names
    assert "container_spec_cpu_shares" in names
    assert list(filesystem_samples(None, None)) == []


def test_processes_are_counted_with_what_they_hold_open():
    mine = process_details([os.getpid(), 4_999_999])
    assert mine.processes == 2
    assert mine.file_descriptors >= 3
    assert mine.open_files_limit is None or mine.open_files_limit > 0
    assert process_details([]).open_files_limit is None


def test_devices_have_names_where_the_kernel_knows_them():
    volume = volume_of("/proc")
    assert volume is not None
    assert ":" in volume.device, "no block device is behind /proc"
    assert volume_of("/no/such/directory") is None
    assert device_name(0, 12345) == "0:12345"


def test_a_container_that_does_not_run_has_disk_only():
    attributes = criv1.ContainerAttributes(id="abc")
    idle = messages.idle_container_stats(attributes, LayerUse(5, 4096, 1), "/disk")
    assert not idle.HasField("cpu")
    assert not idle.HasField("memory")
    assert idle.writable_layer.used_bytes.value == 4096
    assert not messages.idle_container_stats(attributes, None, "/disk").HasField("writable_layer")


def test_unset_is_not_zero(tmp_path: Path):
    directory = write_v2(tmp_path / "cgroup")[""]
    for name in ("memory.max", "io.pressure", "memory.swap.current"):
        (directory / name).unlink()
    usage = open_cgroup({"": directory}, Allowance()).usage()
    stats = messages.container_stats(criv1.ContainerAttributes(id="abc"), usage, None, None, "")
    assert not stats.memory.HasField("available_bytes")
    assert not stats.cpu.HasField("usage_nano_cores")
    assert not stats.HasField("swap")
    assert not stats.HasField("io")
    assert stats.cpu.psi.Some.Avg10 == 1.5


def test_the_default_interface_is_not_listed_twice():
    other = InterfaceUse("net1", 0, 0, 0, 0, 0, 0, 0, 0)
    usage = messages.network_usage(NetworkUse(9, (*NETWORK.interfaces, other), "eth0"))
    assert usage.default_interface.rx_bytes.value == 1
    assert [each.name for each in usage.interfaces] == ["net1"]


def test_the_limit_on_open_files_needs_no_privilege(monkeypatch: pytest.MonkeyPatch):
    allowed = process_details([os.getpid()]).open_files_limit

    def refused(_process: int, _kind: int) -> tuple[int, int]:
        raise PermissionError

    monkeypatch.setattr(resource, "prlimit", refused)
    assert process_details([os.getpid()]).open_files_limit == allowed
