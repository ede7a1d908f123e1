"""Reads the facts about kernel, control groups, process, disks, clock, resolver and access control. Blocking."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cri.app.doctor.facts import (
    CgroupFacts,
    ClockFacts,
    DnsFacts,
    FilesystemFacts,
    KernelFacts,
    ProcessFacts,
    SecurityFacts,
)
from cri.linux import capabilities, cgroups, clock
from cri.linux.filesystem import filesystem_usage
from cri.oci.handler import RUNC_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.container.handlers import Handlers
    from cri.oci.host import HostFacts

SYSCTLS = (
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.pid_max",
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.ip_forward",
)
RESOLV_CONF = Path("/etc/resolv.conf")
CONTAINER_POLICY = Path("/etc/selinux/targeted/contexts/lxc_contexts")


def kernel_facts(host: HostFacts) -> KernelFacts:
    """The running kernel."""
    values = {name: _read(Path("/proc/sys", *_path_of(name))) for name in SYSCTLS}
    return KernelFacts(
        release=platform.release(),
        version=host.kernel,
        filesystems=frozenset(line.split()[-1] for line in _read(Path("/proc/filesystems")).splitlines()),
        namespaces=frozenset(os.listdir("/proc/self/ns")),
        seccomp=host.seccomp,
        user_namespaces=int(_read(Path("/proc/sys/user/max_user_namespaces")) or 0),
        sysctls={name: value for name, value in values.items() if value},
    )


def cgroup_facts(handlers: Handlers) -> CgroupFacts:
    """The control group tree, and which driver each handler of runc uses on it."""
    of_runc = [handler for handler in handlers if handler.spec.runtime_type == RUNC_TYPE]
    tree = cgroups.ROOT if cgroups.version() == 2 else cgroups.ROOT / "memory"
    return CgroupFacts(
        version=cgroups.version(),
        controllers=cgroups.controllers(),
        writable=os.access(tree, os.W_OK) and not os.statvfs(tree).f_flag & os.ST_RDONLY,
        systemd=Path("/run/systemd/system").is_dir(),
        systemd_handlers=tuple(handler.name for handler in of_runc if handler.spec.systemd_cgroup),
        cgroupfs_handlers=tuple(handler.name for handler in of_runc if not handler.spec.systemd_cgroup),
    )


def process_facts(host: HostFacts) -> ProcessFacts:
    """This process."""
    known = capabilities.kernel_capabilities()
    missing = known - capabilities.effective()
    return ProcessFacts(
        user=os.geteuid(),
        missing_capabilities=tuple(name for name in capabilities.NAMES if name in missing),
        oom_score_adj=host.own_oom_score_adj,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        in_user_namespace=host.in_user_namespace,
    )


def filesystem_facts(places: Iterable[tuple[str, Path]]) -> tuple[FilesystemFacts, ...]:
    """The filesystems of several directories, each filesystem once; of a missing directory its nearest parent's."""
    found: dict[int, FilesystemFacts] = {}
    for purpose, path in places:
        existing = next(each for each in (path, *path.parents) if each.exists())
        usage = filesystem_usage(existing)
        found.setdefault(
            existing.stat().st_dev,
            FilesystemFacts(
                purpose=purpose,
                path=str(path),
                capacity_bytes=usage.capacity_bytes,
                available_bytes=usage.available_bytes,
                inodes=usage.inodes,
                inodes_free=usage.inodes_free,
                read_only=bool(os.statvfs(existing).f_flag & os.ST_RDONLY),
            ),
        )
    return tuple(found.values())


def clock_facts() -> ClockFacts:
    """The wall clock, and the day of this installation to compare with."""
    return ClockFacts(
        now=time.time_ns() / 1e9, synchronized=clock.synchronized(), built=Path(__file__).stat().st_mtime
    )


def dns_facts(file: Path = RESOLV_CONF) -> DnsFacts:
    """The host's resolver configuration (resolv.conf(5))."""
    words = [line.split() for line in _read(file).splitlines()]
    servers = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    searches = next((line[1:] for line in reversed(words) if line and line[0] == "search"), [])
    return DnsFacts(str(file), tuple(servers), tuple(searches))


def security_facts(host: HostFacts, *, enable_selinux: bool, disable_apparmor: bool) -> SecurityFacts:
    """Mandatory access control."""
    return SecurityFacts(
        selinux=host.selinux,
        enable_selinux=enable_selinux,
        apparmor=host.apparmor,
        apparmor_parser=shutil.which("apparmor_parser") is not None,
        disable_apparmor=disable_apparmor,
        policy_files=CONTAINER_POLICY.exists(),
    )


def _path_of(sysctl: str) -> list[str]:
    return re.split(r"\.", sysctl)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
