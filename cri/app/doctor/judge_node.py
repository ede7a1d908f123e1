"""Findings about disks, time and mandatory access control. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.app.doctor.finding import Finding, broken, limited, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.app.doctor.facts import ClockFacts, Facts, FilesystemFacts, SecurityFacts

GIBIBYTE = 1 << 30
LEAST_FREE_SHARE = 0.15
"""The kubelet evicts pods below this by default (imagefs.available)."""
LEAST_FREE_INODES_SHARE = 0.05
HOPELESS_BYTES = GIBIBYTE // 4


def judge_node(facts: Facts) -> Iterator[Finding]:
    """Everything else that a node stands on."""
    for filesystem in facts.filesystems:
        yield from _filesystem(filesystem)
    yield from _clock(facts.clock)
    yield from _security(facts.security)


def _filesystem(filesystem: FilesystemFacts) -> Iterator[Finding]:
    where = f"{filesystem.purpose} {filesystem.path}"
    if filesystem.read_only:
        yield broken(
            "disk",
            f"{where}: the filesystem is read-only",
            "Nothing can be pulled or started.",
            f"mount -o remount,rw {filesystem.path}, after dmesg has told why it is.",
        )
    if not filesystem.capacity_bytes:
        return
    free = filesystem.available_bytes / filesystem.capacity_bytes
    amount = f"{filesystem.available_bytes / GIBIBYTE:.1f} GiB ({free:.0%}) free"
    if filesystem.available_bytes < HOPELESS_BYTES:
        yield broken(
            "disk", f"{where}: {amount}", "Pulls and writes fail.", "Free space: crictl rmi --prune."
        )
    elif free < LEAST_FREE_SHARE:
        yield limited(
            "disk",
            f"{where}: {amount}",
            f"Below {LEAST_FREE_SHARE:.0%} the kubelet evicts pods and deletes images.",
            "Free space: crictl rmi --prune; or enlarge the filesystem.",
        )
    if filesystem.inodes and filesystem.inodes_free / filesystem.inodes < LEAST_FREE_INODES_SHARE:
        yield limited(
            "disk",
            f"{where}: {filesystem.inodes_free} of {filesystem.inodes} inodes free",
            "Without inodes no file can be made, however much space is left; below 5% the kubelet evicts pods.",
            "Remove images of many small files: crictl rmi --prune.",
        )


def _clock(clock: ClockFacts) -> Iterator[Finding]:
    if clock.now < clock.built:
        yield broken(
            "time",
            "the clock is before the day on which cri-shim was installed",
            "Certificates are not valid yet: registries and the API server refuse every connection.",
            "Set the time: timedatectl set-ntp true, or date -s.",
        )
    elif clock.synchronized is False:
        yield limited(
            "time",
            "nobody keeps the clock",
            "Clocks of nodes that drift apart confuse leases, logs and certificates.",
            "apt-get install systemd-timesyncd (or chrony).",
        )


def _security(security: SecurityFacts) -> Iterator[Finding]:
    if security.enable_selinux and not security.selinux:
        yield broken(
            "security",
            "enable_selinux is set, but SELinux is not enabled",
            "Labels cannot be given and containers do not start.",
            "Remove enable_selinux from the configuration, or boot with selinux=1 security=selinux.",
        )
    if security.selinux and not security.enable_selinux:
        yield limited(
            "security",
            "SELinux is enabled, but enable_selinux is not set",
            "Containers run in the server's own domain, without separation from each other.",
            "enable_selinux = true",
        )
    if security.selinux and security.enable_selinux and not security.policy_files:
        yield broken(
            "security",
            "there is no policy for containers",
            "SELinux denies what containers do.",
            "Install container-selinux.",
        )
    if security.apparmor and security.disable_apparmor:
        yield note(
            "security",
            "AppArmor is switched off by disable_apparmor",
            "Pods run unconfined by it.",
            "disable_apparmor = false",
        )
    elif security.apparmor and not security.apparmor_parser:
        yield limited(
            "security",
            "AppArmor is enabled, but apparmor_parser is not installed",
            "The default profile cannot be loaded; pods run unconfined.",
            "apt-get install apparmor",
        )
