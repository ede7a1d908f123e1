"""Reads a cgroup of version 2: one directory with the files of all controllers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cri.stats import control_values as values
from cri.stats.cgroup_v1 import hugepage_sizes
from cri.stats.held_files import Allowance, HeldFiles
from cri.stats.process_tree import processes_below
from cri.stats.usage import Details, Hugepages, MemoryUse, Throttling, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MICROSECOND = 1000
_KERNEL_PARTS = (b"kernel_stack", b"slab", b"percpu", b"sock")
"""What older kernels, which have no sum of it, count of kernel memory."""


class CgroupV2:
    """A `Cgroup`; controllers that are not enabled count as nothing used."""

    def __init__(self, directory: Path, allowance: Allowance) -> None:
        self._files = HeldFiles(allowance)
        self._directory = str(directory)

    def usage(self) -> Usage:
        """Nine files at most."""
        return Usage(
            at=time.time_ns(),
            cpu=self.cpu_time(),
            memory=self._memory(),
            cpu_stalls=values.stalls(self._held("cpu.pressure")),
            memory_stalls=values.stalls(self._held("memory.pressure")),
            io_stalls=values.stalls(self._held("io.pressure")),
        )

    def cpu_time(self) -> int:
        """One file, of which the first line is all that is needed."""
        content = self._held("cpu.stat")
        # "usage_usec N" is the first line since there is cpu.stat; a full parse costs ten times as much.
        return int(content.split(None, 2)[1]) * _MICROSECOND if content else 0

    def details(self) -> Details:
        """Six files and those of huge pages."""
        cpu = values.pairs(self._held("cpu.stat"))
        memory = values.pairs(self._held("memory.stat"))
        events = values.pairs(self._held("memory.events"))
        return Details(
            user=int(cpu.get(b"user_usec", 0)) * _MICROSECOND,
            system=int(cpu.get(b"system_usec", 0)) * _MICROSECOND,
            throttling=Throttling(
                periods=int(cpu.get(b"nr_periods", 0)),
                throttled_periods=int(cpu.get(b"nr_throttled", 0)),
                throttled=int(cpu.get(b"throttled_usec", 0)) * _MICROSECOND,
            ),
            kernel_memory=_kernel_memory(memory),
            max_memory=values.number(self._held("memory.peak")),
            memory_limit_hits=int(events.get(b"max", 0)),
            oom_kills=int(events.get(b"oom_kill", 0)),
            threads_limit=values.limit(self._held("pids.max")),
            devices=values.devices_v2(self._held("io.stat")),
            hugepages=tuple(
                Hugepages(size, values.number(self._held(f"hugetlb.{size}.current")))
                for size in hugepage_sizes(self._directory, "current")
            ),
        )

    def threads(self) -> int:
        """One file; the processes are counted where the controller is not enabled."""
        counted = self._held("pids.current")
        return values.number(counted) if counted else len(self.processes())

    def processes(self) -> list[int]:
        """From cgroup.procs, here and below."""
        return processes_below(self._directory)

    def close(self) -> None:
        """Let go of open files."""
        self._files.close()

    def _memory(self) -> MemoryUse:
        stat = values.pairs(self._held("memory.stat"))
        swap = self._held("memory.swap.current")
        return MemoryUse(
            usage=values.number(self._held("memory.current")),
            inactive_file=int(stat.get(b"inactive_file", 0)),
            rss=int(stat.get(b"anon", 0)),
            cache=int(stat.get(b"file", 0)),
            mapped_file=int(stat.get(b"file_mapped", 0)),
            page_faults=int(stat.get(b"pgfault", 0)),
            major_page_faults=int(stat.get(b"pgmajfault", 0)),
            limit=values.limit(self._held("memory.max")),
            swap=values.number(swap) if swap else None,
            swap_limit=values.limit(self._held("memory.swap.max")) if swap else None,
        )

    def _held(self, name: str) -> bytes:
        return self._files.read(f"{self._directory}/{name}")


def _kernel_memory(stat: Mapping[bytes, bytes]) -> int:
    if b"kernel" in stat:  # Linux 5.18
        return int(stat[b"kernel"])
    return sum(int(stat.get(part, 0)) for part in _KERNEL_PARTS)
