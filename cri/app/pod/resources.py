"""Kubernetes resource requests and limits as the cgroup figures that the CRI takes. Pure.

The arithmetic is the kubelet's (pkg/kubelet/cm/helpers_linux.go): shares are 1024 per core of the request, at
least 2; the quota is the limit's share of a period of 100 ms, at least 1 ms.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from api.wire import criv1 as cri
from cri.network.quantity import parse_quantity

if TYPE_CHECKING:
    from cri.app.pod.fields import Fields

SHARES_PER_CORE = 1024
LEAST_SHARES, MOST_SHARES = 2, 262144
PERIOD_MICROSECONDS = 100_000
LEAST_QUOTA = 1000

_CORES = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(m?)", re.ASCII)


def resources(fields: Fields) -> cri.LinuxContainerResources:
    """Read `resources`. Raises ManifestError naming the field for what is no quantity or not supported."""
    requests, limits = fields.table("requests"), fields.table("limits")
    cpu_limit, memory_limit = _cpu(limits), _memory(limits)
    cpu_request = _cpu(requests)
    _memory(requests)
    for each in (requests, limits, fields):
        each.finish()
    if cpu_request is None:
        cpu_request = cpu_limit
    made = cri.LinuxContainerResources(cpu_shares=cpu_shares(cpu_request or 0))
    if cpu_limit:
        made.cpu_period = PERIOD_MICROSECONDS
        made.cpu_quota = max(LEAST_QUOTA, cpu_limit * PERIOD_MICROSECONDS // 1000)
    if memory_limit:
        made.memory_limit_in_bytes = memory_limit
    return made


def milli_cores(text: str) -> int:
    """ "250m" is 250, "0.5" is 500, "2" is 2000. Raises ValueError."""
    match = _CORES.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a number of cores such as "500m" or "1.5"')
    number = Fraction(match[1])
    return -int(-(number if match[2] else number * 1000) // 1)  # rounded up


def cpu_shares(milli: int) -> int:
    """The cgroup weight of a request in thousandths of a core."""
    return min(MOST_SHARES, max(LEAST_SHARES, milli * SHARES_PER_CORE // 1000))


def _cpu(fields: Fields) -> int | None:
    text = fields.quantity("cpu")
    if text is None:
        return None
    try:
        return milli_cores(text)
    except ValueError as error:
        raise fields.wrong("cpu", str(error)) from None


def _memory(fields: Fields) -> int | None:
    text = fields.quantity("memory")
    if text is None:
        return None
    try:
        amount = parse_quantity(text)
    except ValueError as error:
        raise fields.wrong("memory", str(error)) from None
    if amount < 0:
        raise fields.wrong("memory", f'"{text}" is negative')
    return amount
