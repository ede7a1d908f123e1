"""Reads the facts about kernel and process that specs depend on, once, at start."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from cri.linux import capabilities, cgroups
from cri.oci.host import HostFacts

HUGEPAGE_DIRECTORY = Path("/sys/kernel/mm/hugepages")


def detect_host() -> HostFacts:
    """The facts of this machine. Blocking, a few milliseconds."""
    effective = capabilities.effective()
    kernel = capabilities.kernel_capabilities()
    controllers = cgroups.controllers()
    return HostFacts(
        cgroup_version=cgroups.version(),
        capabilities=tuple(name for name in capabilities.NAMES if name in kernel),
        effective_capabilities=tuple(name for name in capabilities.NAMES if name in effective),
        architecture=platform.machine(),
        kernel=_kernel_version(platform.release()),
        hostname=platform.node(),
        seccomp=_status_has("Seccomp:"),
        apparmor=_apparmor(),
        selinux=Path("/sys/fs/selinux/enforce").exists(),
        swap=_swap_accounted(),
        hugetlb="hugetlb" in controllers,
        hugepage_sizes=_hugepage_sizes(),
        has_cap_sys_resource="CAP_SYS_RESOURCE" in effective,
        own_oom_score_adj=int(_read(Path("/proc/self/oom_score_adj")) or 0),
        cpus=_set(_read(Path("/sys/devices/system/cpu/online"))),
        memory_nodes=_set(_read(Path("/sys/devices/system/node/online")) or "0"),
        user_namespaces=_read(Path("/proc/sys/user/max_user_namespaces")) not in ("", "0"),
        in_user_namespace=_in_user_namespace(),
        cgroup_mount_options=cgroups.unified_options(),
    )


def _kernel_version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _status_has(key: str) -> bool:
    return key in _read(Path("/proc/self/status"))


def _apparmor() -> bool:
    """Without the parser no profile could be loaded, not even the default one."""
    enabled = _read(Path("/sys/module/apparmor/parameters/enabled")) == "Y"
    return enabled and shutil.which("apparmor_parser") is not None


def _swap_accounted() -> bool:
    if cgroups.version() == 1:
        return Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    return any(Path("/sys/fs/cgroup").glob("*/memory.swap.max"))


def _hugepage_sizes() -> tuple[str, ...]:
    """In cgroup notation: hugepages-2048kB is 2MB."""
    try:
        names = os.listdir(HUGEPAGE_DIRECTORY)
    except OSError:
        return ()
    kilobytes = sorted(int(found[1]) for name in names if (found := re.fullmatch(r"hugepages-(\d+)kB", name)))
    return tuple(_cgroup_size(size) for size in kilobytes)


def _cgroup_size(kilobytes: int) -> str:
    for unit, factor in (("GB", 1 << 20), ("MB", 1 << 10)):
        if kilobytes % factor == 0:
            return f"{kilobytes // factor}{unit}"
    return f"{kilobytes}KB"


def _set(text: str) -> frozenset[int]:
    """A kernel list such as 0-3,8."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def _in_user_namespace() -> bool:
    """The initial namespace maps all ids onto themselves in one line."""
    return _read(Path("/proc/self/uid_map")).split() != ["0", "0", "4294967295"]
