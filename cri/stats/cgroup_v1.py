"""Reads a cgroup of version 1: one directory for each controller.

On a hybrid host the same cgroup is also in the unified tree, which has no controllers there but measures pressure.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from cri.stats import control_values as values
from cri.stats.held_files import Allowance, CgroupGoneError, HeldFiles
from cri.stats.process_tree import processes_below
from cri.stats.usage import Details, Hugepages, MemoryUse, Throttling, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_HUGEPAGE_FILE = re.compile(r"hugetlb\.([^.]+)\.([^.]+)")
"""Page size, and what of it; reservations, with one more part, are not told."""
_NOTHING = MemoryUse(0, 0, 0, 0, 0, 0, 0)


class CgroupV1:
    """A `Cgroup`; controllers that are not mounted count as nothing used."""

    def __init__(self, directories: Mapping[str, Path], allowance: Allowance) -> None:
        """`directories` by controller; the empty string's is the one in the unified tree."""
        self._files = HeldFiles(allowance)
        self._directories = {controller: str(path) for controller, path in directories.items()}

    def usage(self) -> Usage:
        """Three files, and three more where pressure is measured."""
        return Usage(
            at=time.time_ns(),
            cpu=self.cpu_time(),
            memory=self._memory(),
            cpu_stalls=values.stalls(self._held("", "cpu.pressure")),
            memory_stalls=values.stalls(self._held("", "memory.pressure")),
            io_stalls=values.stalls(self._held("", "io.pressure")),
        )

    def cpu_time(self) -> int:
        """One file."""
        return values.number(self._held("cpuacct", "cpuacct.usage"))

    def details(self) -> Details:
        """A dozen files."""
        cpu = values.pairs(self._held("cpu", "cpu.stat"))
        oom = values.pairs(self._held("memory", "memory.oom_control"))
        return Details(
            user=values.number(self._held("cpuacct", "cpuacct.usage_user")),
            system=values.number(self._held("cpuacct", "cpuacct.usage_sys")),
            throttling=Throttling(
                periods=int(cpu.get(b"nr_periods", 0)),
                throttled_periods=int(cpu.get(b"nr_throttled", 0)),
                throttled=int(cpu.get(b"throttled_time", 0)),
            ),
            kernel_memory=values.number(self._held("memory", "memory.kmem.usage_in_bytes")),
            max_memory=values.number(self._held("memory", "memory.max_usage_in_bytes")),
            memory_limit_hits=values.number(self._held("memory", "memory.failcnt")),
            oom_kills=int(oom.get(b"oom_kill", 0)),
            threads_limit=values.limit(self._held("pids", "pids.max")),
            devices=values.devices_v1(
                self._held("blkio", "blkio.throttle.io_service_bytes_recursive"),
                self._held("blkio", "blkio.throttle.io_serviced_recursive"),
            ),
            hugepages=tuple(self._hugepages()),
        )

    def threads(self) -> int:
        """One file; the processes are counted where the controller is missing."""
        counted = self._held("pids", "pids.current")
        return values.number(counted) if counted else len(self.processes())

    def processes(self) -> list[int]:
        """From the hierarchy that is there: all of them hold the same processes."""
        for controller in ("memory", "cpuacct", "pids", "cpu"):
            if controller in self._directories:
                return processes_below(self._directories[controller])
        return []

    def close(self) -> None:
        """Let go of open files."""
        self._files.close()

    def _memory(self) -> MemoryUse:
        stat = values.pairs(self._held("memory", "memory.stat"))
        if not stat:
            return _NOTHING
        limit = values.limit(stat.get(b"hierarchical_memory_limit", b""))
        with_swap = values.limit(stat.get(b"hierarchical_memsw_limit", b""))
        return MemoryUse(
            usage=values.number(self._held("memory", "memory.usage_in_bytes")),
            inactive_file=int(stat[b"total_inactive_file"]),
            rss=int(stat[b"total_rss"]),
            cache=int(stat[b"total_cache"]),
            mapped_file=int(stat[b"total_mapped_file"]),
            page_faults=int(stat[b"total_pgfault"]),
            major_page_faults=int(stat[b"total_pgmajfault"]),
            limit=limit,
            swap=int(stat[b"total_swap"]) if b"total_swap" in stat else None,
            swap_limit=None if with_swap is None or limit is None else max(with_swap - limit, 0),
        )

    def _hugepages(self) -> Iterator[Hugepages]:
        directory = self._directories.get("hugetlb")
        if directory is None:
            return
        for size in hugepage_sizes(directory, "usage_in_bytes"):
            yield Hugepages(
                size,
                values.number(self._held("hugetlb", f"hugetlb.{size}.usage_in_bytes")),
                values.number(self._held("hugetlb", f"hugetlb.{size}.max_usage_in_bytes")),
            )

    def _held(self, controller: str, name: str) -> bytes:
        directory = self._directories.get(controller)
        return b"" if directory is None else self._files.read(f"{directory}/{name}")


def hugepage_sizes(directory: str, suffix: str) -> list[str]:
    """The page sizes that a hugetlb directory counts, from its files' names. Blocking. Raises CgroupGoneError."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        raise CgroupGoneError(directory) from None
    sizes = (_HUGEPAGE_FILE.fullmatch(name) for name in names)
    return sorted(size.group(1) for size in sizes if size is not None and size.group(2) == suffix)
