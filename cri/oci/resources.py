"""Cgroup limits: CRI's LinuxContainerResources to the spec's, merging of updates, and back for the status.

A zero or empty field means "leave alone", for a new container as for an update. Runtimes translate the values
to cgroup v1 or v2 themselves; `unified` goes to v2 files as it is.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.refusals import bad_value, check_range
from cri.oci.spec import Cpu, HugepageLimit, Memory, Resources, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.oci.host import HostFacts
    from cri.oci.settings import OciSettings

#: What the kernel takes; it clips shares, and runc refuses a container whose shares were clipped.
MIN_SHARES, MAX_SHARES = 2, 262144
MIN_PERIOD, MAX_PERIOD = 1_000, 1_000_000
MIN_QUOTA = 1_000
UNLIMITED = -1

#: A sandbox's process does nothing, so it gets the smallest share.
SANDBOX_SHARES = MIN_SHARES

_UNIFIED_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+")
_CPUSET = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*")


def container_resources(
    request: criv1.LinuxContainerResources, base: Resources, host: HostFacts, settings: OciSettings
) -> Resources:
    """`base` with everything that `request` sets; new values replace old ones, lists merge by key.

    Memory and swap get one limit when the request has no swap limit, so that nothing swaps unasked. Raises
    InvalidArgument for values that the kernel would refuse.
    """
    _check_cpu(request, host)
    merged = copy.deepcopy(base)
    if cpu := merged.get("cpu", Cpu()) | _cpu(request):
        merged["cpu"] = cpu
    if memory := merged.get("memory", Memory()) | _memory(request, host):
        _check_memory(memory)
        merged["memory"] = memory
    if limits := _hugepages(request.hugepage_limits, merged.get("hugepageLimits", ()), host, settings):
        merged["hugepageLimits"] = limits
    if request.unified:
        merged["unified"] = merged.get("unified", {}) | _unified(request, host)
    return merged


def updated_spec(
    spec: Spec, request: criv1.LinuxContainerResources, host: HostFacts, settings: OciSettings
) -> Spec:
    """A copy of `spec` with the request's limits; `spec` itself stays for the way back.

    The OOM score is not a cgroup setting and stays as it is. Raises InvalidArgument as `container_resources`.
    """
    updated = copy.copy(spec)
    linux = updated["linux"] = copy.copy(spec.get("linux", {}))
    linux["resources"] = container_resources(request, linux.get("resources", {}), host, settings)
    return updated


def to_status(spec: Spec) -> criv1.ContainerResources:
    """The limits of `spec` for ContainerStatus, which the kubelet compares with what it asked for."""
    resources = spec.get("linux", {}).get("resources", {})
    cpu, memory = resources.get("cpu", Cpu()), resources.get("memory", Memory())
    status = criv1.LinuxContainerResources(
        cpu_period=cpu.get("period", 0),
        cpu_quota=cpu.get("quota", 0),
        cpu_shares=cpu.get("shares", 0),
        cpuset_cpus=cpu.get("cpus", ""),
        cpuset_mems=cpu.get("mems", ""),
        memory_limit_in_bytes=memory.get("limit", 0),
        memory_swap_limit_in_bytes=memory.get("swap", 0),
        oom_score_adj=spec.get("process", {}).get("oomScoreAdj", 0),
        unified=resources.get("unified", {}),
    )
    for limit in resources.get("hugepageLimits", ()):
        status.hugepage_limits.add(page_size=limit["pageSize"], limit=limit["limit"])
    return criv1.ContainerResources(linux=status)


def _field(name: str) -> str:
    return f"linux.resources.{name}"


def _cpu(request: criv1.LinuxContainerResources) -> Cpu:
    cpu: Cpu = {}
    if request.cpu_shares:
        cpu["shares"] = request.cpu_shares
    if request.cpu_quota:
        cpu["quota"] = request.cpu_quota
    if request.cpu_period:
        cpu["period"] = request.cpu_period
    if request.cpuset_cpus:
        cpu["cpus"] = request.cpuset_cpus
    if request.cpuset_mems:
        cpu["mems"] = request.cpuset_mems
    return cpu


def _check_cpu(request: criv1.LinuxContainerResources, host: HostFacts) -> None:
    if request.cpu_shares:
        check_range(_field("cpu_shares"), request.cpu_shares, MIN_SHARES, MAX_SHARES)
    if request.cpu_period:
        check_range(_field("cpu_period"), request.cpu_period, MIN_PERIOD, MAX_PERIOD)
    if request.cpu_quota != UNLIMITED and request.cpu_quota and request.cpu_quota < MIN_QUOTA:
        raise bad_value(_field("cpu_quota"), request.cpu_quota, f"-1 (unlimited) or at least {MIN_QUOTA}")
    _check_cpuset("cpuset_cpus", request.cpuset_cpus, host.cpus)
    _check_cpuset("cpuset_mems", request.cpuset_mems, host.memory_nodes)


def _check_cpuset(name: str, value: str, available: frozenset[int]) -> None:
    if not value:
        return
    if not _CPUSET.fullmatch(value):
        raise bad_value(_field(name), value, "a list of numbers and ranges, such as 0-3,6")
    for part in value.split(","):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        missing = last < first or bool(available and {first, last} - available)
        if missing:
            known = ",".join(map(str, sorted(available))) or "rising numbers"
            raise bad_value(_field(name), value, f"a list of what this machine has: {known}")


def _memory(request: criv1.LinuxContainerResources, host: HostFacts) -> Memory:
    limit, swap = request.memory_limit_in_bytes, request.memory_swap_limit_in_bytes
    for name, value in (("memory_limit_in_bytes", limit), ("memory_swap_limit_in_bytes", swap)):
        if value < UNLIMITED:
            raise bad_value(_field(name), value, "-1 (unlimited), 0 (as it is) or a number of bytes")
    memory: Memory = {}
    if limit:
        memory["limit"] = limit
    if host.swap and (swap or limit):
        memory["swap"] = swap or limit
    return memory


def _check_memory(memory: Memory) -> None:
    limit, swap = memory.get("limit", UNLIMITED), memory.get("swap", UNLIMITED)
    if swap != UNLIMITED and (limit == UNLIMITED or swap < limit):
        wanted = (
            "set together with a memory limit"
            if limit == UNLIMITED
            else f"at least the memory limit, {limit}"
        )
        raise bad_value(_field("memory_swap_limit_in_bytes"), swap, wanted)


def _hugepages(
    request: Iterable[criv1.HugepageLimit],
    base: Iterable[HugepageLimit],
    host: HostFacts,
    settings: OciSettings,
) -> list[HugepageLimit]:
    limits = {limit["pageSize"]: limit["limit"] for limit in base}
    asked = {limit.page_size: limit.limit for limit in request}
    if asked and not settings.disable_hugetlb_controller:
        if host.hugetlb:
            limits |= {_page_size(size, host): limit for size, limit in asked.items()}
        elif not settings.tolerate_missing_hugetlb_controller:
            raise InvalidArgument(
                f"{_field('hugepage_limits')}: this machine has no hugetlb cgroup controller; "
                "set tolerate_missing_hugetlb_controller = true to ignore the limits"
            )
    return [{"pageSize": size, "limit": limit} for size, limit in limits.items()]


def _page_size(size: str, host: HostFacts) -> str:
    if host.hugepage_sizes and size not in host.hugepage_sizes:
        raise bad_value(_field("hugepage_limits.page_size"), size, f"one of {', '.join(host.hugepage_sizes)}")
    return size


def _unified(request: criv1.LinuxContainerResources, host: HostFacts) -> dict[str, str]:
    unified = dict(request.unified)
    if host.cgroup_version != 2:
        raise bad_value(_field("unified"), sorted(unified), "empty, since this machine has cgroup v1")
    for key in unified:
        if not _UNIFIED_KEY.fullmatch(key):
            raise bad_value(_field("unified"), key, "the name of a cgroup v2 file, such as memory.high")
    return unified
