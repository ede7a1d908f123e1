"""CRI limits as the contents of cgroup files, for cgroups that this server writes itself: the pods' own.

Containers' cgroups are the runtime's. Formats are those of the kernel (admin-guide/cgroup-v1 and cgroup-v2.rst).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci.resources import MAX_SHARES, MIN_SHARES, UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.oci.host import HostFacts

DEFAULT_PERIOD = 100_000
_MAX = "max"
_LOWEST_WEIGHT, _HIGHEST_WEIGHT = 1, 10_000


@dataclass(frozen=True, slots=True)
class CgroupFile:
    """A value to write; `controller` names the v1 hierarchy and is empty on v2."""

    controller: str
    name: str
    value: str


def cgroup_files(request: criv1.LinuxContainerResources, host: HostFacts) -> tuple[CgroupFile, ...]:
    """The files to write for everything that `request` sets; zero or empty fields are left alone.

    The request must have passed `resources.container_resources`. On v1 memory and memory plus swap bound each
    other: when the kernel refuses (EBUSY, EINVAL) because the limits rise, write the files in reverse.
    """
    return tuple(_v2(request, host) if host.cgroup_version == 2 else _v1(request, host))


def with_overhead(
    resources: criv1.LinuxContainerResources, overhead: criv1.LinuxContainerResources
) -> criv1.LinuxContainerResources:
    """The limits of a pod's cgroup: those for its containers and the runtime's own need on top.

    What either side leaves at zero, or unlimited, has nothing added to it.
    """
    total = criv1.LinuxContainerResources()
    total.CopyFrom(resources)
    if resources.cpu_shares and overhead.cpu_shares:
        total.cpu_shares = min(resources.cpu_shares + overhead.cpu_shares, MAX_SHARES)
    if resources.cpu_quota > 0 and overhead.cpu_quota > 0:
        scale = (resources.cpu_period or DEFAULT_PERIOD) / (overhead.cpu_period or DEFAULT_PERIOD)
        total.cpu_quota = resources.cpu_quota + round(overhead.cpu_quota * scale)
    for field in ("memory_limit_in_bytes", "memory_swap_limit_in_bytes"):
        limit, extra = getattr(resources, field), overhead.memory_limit_in_bytes
        if limit > 0 and extra > 0:
            setattr(total, field, limit + extra)
    return total


def cpu_weight(shares: int) -> int:
    """cpu.weight for CPU shares: 2 to 262144 spread evenly over 1 to 10000, as the kubelet does for pods."""
    clipped = min(max(shares, MIN_SHARES), MAX_SHARES)
    span = _HIGHEST_WEIGHT - _LOWEST_WEIGHT
    return _LOWEST_WEIGHT + (clipped - MIN_SHARES) * span // (MAX_SHARES - MIN_SHARES)


def _v1(request: criv1.LinuxContainerResources, host: HostFacts) -> Iterator[CgroupFile]:
    if request.cpu_shares:
        yield CgroupFile("cpu", "cpu.shares", str(request.cpu_shares))
    if request.cpu_period:
        yield CgroupFile("cpu", "cpu.cfs_period_us", str(request.cpu_period))
    if request.cpu_quota:
        yield CgroupFile("cpu", "cpu.cfs_quota_us", str(request.cpu_quota))
    if request.cpuset_cpus:
        yield CgroupFile("cpuset", "cpuset.cpus", request.cpuset_cpus)
    if request.cpuset_mems:
        yield CgroupFile("cpuset", "cpuset.mems", request.cpuset_mems)
    if request.memory_limit_in_bytes:
        yield CgroupFile("memory", "memory.limit_in_bytes", str(request.memory_limit_in_bytes))
    if request.memory_swap_limit_in_bytes and host.swap:
        yield CgroupFile("memory", "memory.memsw.limit_in_bytes", str(request.memory_swap_limit_in_bytes))
    if host.hugetlb:
        for limit in request.hugepage_limits:
            yield CgroupFile("hugetlb", f"hugetlb.{limit.page_size}.limit_in_bytes", str(limit.limit))


def _v2(request: criv1.LinuxContainerResources, host: HostFacts) -> Iterator[CgroupFile]:
    if request.cpu_shares:
        yield CgroupFile("", "cpu.weight", str(cpu_weight(request.cpu_shares)))
    if request.cpu_quota:
        # A period without a quota cannot be written: the file starts with the quota.
        quota = str(request.cpu_quota) if request.cpu_quota > 0 else _MAX
        yield CgroupFile("", "cpu.max", f"{quota} {request.cpu_period or DEFAULT_PERIOD}")
    if request.cpuset_cpus:
        yield CgroupFile("", "cpuset.cpus", request.cpuset_cpus)
    if request.cpuset_mems:
        yield CgroupFile("", "cpuset.mems", request.cpuset_mems)
    limit, swap = request.memory_limit_in_bytes, request.memory_swap_limit_in_bytes
    if limit:
        yield CgroupFile("", "memory.max", _bytes(limit))
    if swap and host.swap:
        yield CgroupFile("", "memory.swap.max", _bytes(swap if swap == UNLIMITED else swap - max(limit, 0)))
    if host.hugetlb:
        for pages in request.hugepage_limits:
            yield CgroupFile("", f"hugetlb.{pages.page_size}.max", str(pages.limit))
    for name, value in request.unified.items():
        yield CgroupFile("", name, value)


def _bytes(limit: int) -> str:
    return _MAX if limit == UNLIMITED else str(limit)
