"""Both cgroup versions, read from recorded trees, tell the same figures; what is missing or vanishes is no error."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cri.stats.cgroup import Cgroup, container_cgroup, open_cgroup
from cri.stats.held_files import Allowance, CgroupGoneError, HeldFiles
from cri.stats.usage import Details, DeviceIo, MemoryUse, Pressure, Throttling
from tests.stats.cgroup_trees import PRESSURE, write, write_v1, write_v2

MEBIBYTE = 1 << 20


@pytest.fixture(params=["v1", "v2"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    return write_v1(tmp_path) if request.param == "v1" else write_v2(tmp_path / "cgroup")


@pytest.fixture
def cgroup(tree: dict[str, Path]) -> Cgroup:
    return open_cgroup(tree, Allowance())


def test_both_versions_tell_the_same_usage(cgroup: Cgroup):
    usage = cgroup.usage()
    assert usage.cpu // 1_000_000 == 5000
    memory = usage.memory
    assert memory.usage == 100 * MEBIBYTE
    assert memory.working_set == 80 * MEBIBYTE, "usage less inactive page cache, cgroups below included"
    assert (memory.rss, memory.cache, memory.mapped_file) == (70 * MEBIBYTE, 30 * MEBIBYTE, 8192)
    assert (memory.page_faults, memory.major_page_faults) == (1100, 11)
    assert (memory.limit, memory.available) == (256 * MEBIBYTE, 176 * MEBIBYTE)
    assert (memory.swap, memory.swap_available) == (16384, 256 * MEBIBYTE - 16384)
    assert usage.at > 0
    cgroup.close()


def test_both_versions_tell_the_same_details(cgroup: Cgroup):
    details = cgroup.details()
    assert (details.user // 1_000_000, details.system // 1_000_000) == (3000, 2000)
    assert details.throttling == Throttling(periods=50, throttled_periods=20, throttled=1_500_000_000)
    assert (details.kernel_memory, details.max_memory) == (MEBIBYTE, 120 * MEBIBYTE)
    assert (details.memory_limit_hits, details.oom_kills) == (7, 2)
    assert details.threads_limit is None, "max is no limit"
    assert details.devices == (DeviceIo(253, 0, read_bytes=4096, written_bytes=8192, reads=1, writes=2),)
    (pages,) = details.hugepages
    assert (pages.page_size, pages.usage) == ("2MB", 2 * MEBIBYTE)
    assert cgroup.threads() == 9
    assert cgroup.processes() == [4100001, 4100002]
    cgroup.close()


def test_reading_again_opens_nothing(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch):
    def read() -> tuple[MemoryUse, Details, int]:
        return cgroup.usage().memory, cgroup.details(), cgroup.threads()

    first = read()

    def refused(path: str, *_: object) -> int:
        raise AssertionError(f"{path} is opened again")

    monkeypatch.setattr(os, "open", refused)
    assert read() == first
    cgroup.close()


def test_pressure_of_version_2(tmp_path: Path):
    usage = open_cgroup(write_v2(tmp_path / "cgroup"), Allowance()).usage()
    assert usage.cpu_stalls is not None
    assert usage.memory_stalls is not None
    assert usage.io_stalls is not None
    assert usage.cpu_stalls.some == Pressure(total=123_456_000, avg10=1.5, avg60=0.75, avg300=0.3)
    assert usage.memory_stalls.full == Pressure(total=33_000, avg10=0.0, avg60=0.1, avg300=0.05)


def test_version_1_has_no_pressure_but_the_unified_tree_beside_it_has(tmp_path: Path):
    directories = write_v1(tmp_path)
    alone = open_cgroup(directories, Allowance()).usage()
    assert (alone.cpu_stalls, alone.memory_stalls, alone.io_stalls) == (None, None, None)
    directories[""] = write(
        tmp_path / "unified", {"io.pressure": PRESSURE.format("1.0", "1.0", "1.0", "5", "4")}
    )
    beside = open_cgroup(directories, Allowance()).usage()
    assert beside.io_stalls is not None
    assert beside.io_stalls.some.total == 5000
    assert beside.memory.usage == 100 * MEBIBYTE


def test_a_second_reading_sees_new_values(tree: dict[str, Path]):
    cgroup = open_cgroup(tree, Allowance())
    cgroup.usage()
    directory = tree.get("memory", tree.get("", Path()))
    name = "memory.usage_in_bytes" if "memory" in tree else "memory.current"
    (directory / name).write_text("52428800\n")
    assert cgroup.usage().memory.usage == 50 * MEBIBYTE
    cgroup.close()


def test_no_limit_is_no_limit(tmp_path: Path):
    directory = write_v2(tmp_path / "cgroup")[""]
    (directory / "memory.max").write_text("max\n")
    (directory / "memory.swap.max").write_text("max\n")
    memory = open_cgroup({"": directory}, Allowance()).usage().memory
    assert (memory.limit, memory.available, memory.swap_available) == (None, None, None)
    directories = write_v1(tmp_path / "v1")
    stat = directories["memory"] / "memory.stat"
    stat.write_text(stat.read_text().replace("limit 268435456", "limit 9223372036854771712"))
    assert open_cgroup(directories, Allowance()).usage().memory.limit is None


def test_the_working_set_is_never_negative(tmp_path: Path):
    directory = write_v2(tmp_path / "cgroup")[""]
    (directory / "memory.current").write_text("4096\n")
    assert open_cgroup({"": directory}, Allowance()).usage().memory.working_set == 0


def test_missing_controllers_count_as_nothing(tmp_path: Path):
    bare = open_cgroup({"": write(tmp_path / "bare", {"cgroup.procs": "4100001\n"})}, Allowance())
    usage, details = bare.usage(), bare.details()
    assert (usage.cpu, usage.memory.usage, usage.memory.swap, usage.io_stalls) == (0, 0, None, None)
    assert (details.user, details.devices, details.hugepages) == (0, (), ())
    assert bare.threads() == 1, "counted by hand where the controller is not enabled"
    only_cpu = open_cgroup({"cpuacct": write(tmp_path / "cpuacct", {"cpuacct.usage": "17\n"})}, Allowance())
    assert (only_cpu.usage().cpu, only_cpu.usage().memory.usage) == (17, 0)


def test_kernel_memory_of_old_kernels_is_added_up(tmp_path: Path):
    directory = write_v2(tmp_path / "cgroup")[""]
    stat = directory / "memory.stat"
    stat.write_text(stat.read_text().replace("kernel 1048576\n", ""))
    assert open_cgroup({"": directory}, Allowance()).details().kernel_memory == 65536 + 524288


def test_a_cgroup_that_is_gone_says_so(tree: dict[str, Path]):
    fresh = open_cgroup(tree, Allowance())
    for directory in tree.values():
        shutil.rmtree(directory)
    with pytest.raises(CgroupGoneError):
        fresh.usage()
    with pytest.raises(CgroupGoneError):
        fresh.details()
    with pytest.raises(CgroupGoneError):
        fresh.processes()


def test_a_real_process_is_found_at_its_containers_level(tmp_path: Path):
    with pytest.raises(CgroupGoneError):
        container_cgroup(os.getpid(), "f" * 64, Allowance())
    with pytest.raises(CgroupGoneError):
        container_cgroup(4_999_999, "f" * 64, Allowance())


def test_files_are_opened_once_within_the_allowance(tmp_path: Path):
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(f"{name}\n")
    allowance = Allowance(2)
    before = len(os.listdir("/proc/self/fd"))
    files = HeldFiles(allowance)
    for _ in range(3):
        for name in ("one", "two", "three", "absent"):
            assert files.read(f"{tmp_path}/{name}") == (b"" if name == "absent" else f"{name}\n".encode())
    assert len(os.listdir("/proc/self/fd")) - before == 2, "one more than the allowance is opened each time"
    files.close()
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert allowance.take()
    assert allowance.take()
    assert not allowance.take(), "the allowance is back as it was"
