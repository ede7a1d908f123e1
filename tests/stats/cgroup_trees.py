"""Cgroups as kernels show them, recorded file by file: version 1 (Linux 6.1) and version 2 (Linux 6.6)."""

from __future__ import annotations

from pathlib import Path

PRESSURE = "some avg10={} avg60={} avg300={} total={}\nfull avg10=0.00 avg60=0.10 avg300=0.05 total={}\n"

V1: dict[str, dict[str, str]] = {
    "cpuacct": {
        "cpuacct.usage": "5000000123\n",
        "cpuacct.usage_user": "3000000100\n",
        "cpuacct.usage_sys": "2000000023\n",
        "cgroup.procs": "",
    },
    "cpu": {
        "cpu.stat": "nr_periods 50\nnr_throttled 20\nthrottled_time 1500000000\nnr_bursts 0\nburst_time 0\n",
    },
    "memory": {
        "memory.usage_in_bytes": "104857600\n",
        "memory.max_usage_in_bytes": "125829120\n",
        "memory.failcnt": "7\n",
        "memory.kmem.usage_in_bytes": "1048576\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "memory.stat": (
            "cache 20971520\nrss 67108864\nmapped_file 4096\nswap 8192\npgfault 1000\npgmajfault 10\n"
            "inactive_file 10485760\nhierarchical_memory_limit 268435456\nhierarchical_memsw_limit 536870912\n"
            "total_cache 31457280\ntotal_rss 73400320\ntotal_rss_huge 0\ntotal_mapped_file 8192\n"
            "total_swap 16384\ntotal_pgfault 1100\ntotal_pgmajfault 11\ntotal_inactive_anon 0\n"
            "total_inactive_file 20971520\ntotal_active_file 10485760\n"
        ),
        "cgroup.procs": "4100001\n4100002\n",
    },
    "pids": {"pids.current": "9\n", "pids.max": "max\n"},
    "blkio": {
        "blkio.throttle.io_service_bytes_recursive": (
            "253:0 Read 4096\n253:0 Write 8192\n253:0 Sync 12288\n253:0 Async 0\n253:0 Total 12288\nTotal 12288\n"
        ),
        "blkio.throttle.io_serviced_recursive": (
            "253:0 Read 1\n253:0 Write 2\n253:0 Sync 3\n253:0 Total 3\nTotal 3\n"
        ),
    },
    "hugetlb": {
        "hugetlb.2MB.usage_in_bytes": "2097152\n",
        "hugetlb.2MB.max_usage_in_bytes": "4194304\n",
        "hugetlb.2MB.rsvd.usage_in_bytes": "2097152\n",
        "hugetlb.2MB.rsvd.max_usage_in_bytes": "4194304\n",
        "hugetlb.2MB.limit_in_bytes": "9223372036852678656\n",
    },
}

V2: dict[str, str] = {
    "cpu.stat": (
        "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 50\nnr_throttled 20\n"
        "throttled_usec 1500000\nnr_bursts 0\nburst_usec 0\n"
    ),
    "cpu.pressure": PRESSURE.format("1.50", "0.75", "0.30", "123456", "0"),
    "memory.current": "104857600\n",
    "memory.peak": "125829120\n",
    "memory.max": "268435456\n",
    "memory.swap.current": "16384\n",
    "memory.swap.max": "268435456\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n",
    "memory.stat": (
        "anon 73400320\nfile 31457280\nkernel 1048576\nkernel_stack 65536\npagetables 131072\nsock 0\n"
        "shmem 0\nfile_mapped 8192\nfile_dirty 0\ninactive_anon 73400320\nactive_anon 0\n"
        "inactive_file 20971520\nactive_file 10485760\nslab 524288\npgfault 1100\npgmajfault 11\n"
    ),
    "memory.pressure": PRESSURE.format("0.00", "0.00", "0.00", "77", "33"),
    "io.pressure": PRESSURE.format("2.00", "1.00", "0.50", "999000", "888000"),
    "io.stat": "253:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n",
    "pids.current": "9\n",
    "pids.max": "max\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.rsvd.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.events": "max 0\n",
    "cgroup.procs": "4100001\n4100002\n",
}


def write_v1(root: Path) -> dict[str, Path]:
    """The recorded version 1 cgroup below `root`, by controller."""
    return {controller: write(root / controller, files) for controller, files in V1.items()}


def write_v2(directory: Path) -> dict[str, Path]:
    """The recorded version 2 cgroup in `directory`."""
    return {"": write(directory, V2)}


def write(directory: Path, files: dict[str, str]) -> Path:
    """A directory with these files."""
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_text(content)
    return directory
