"""The spec that every container starts from: the choices containerd and docker share, before any request."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from cri.oci.spec import OCI_VERSION, Mount, Spec

if TYPE_CHECKING:
    from cri.oci.handler import RuntimeHandler

#: Where containerd mounts the container's root, relative to the bundle.
ROOTFS = "rootfs"

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

#: Places in /proc and /sys that tell about, or reach into, the host.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
)

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_spec() -> Spec:
    """A new spec with the built-in defaults; no process arguments and no namespaces yet."""
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "env": [PATH],
            "capabilities": {
                "bounding": list(CAPABILITIES),
                "effective": list(CAPABILITIES),
                "permitted": list(CAPABILITIES),
            },
        },
        "root": {"path": ROOTFS},
        "mounts": default_mounts(),
        "linux": {
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def default_mounts() -> list[Mount]:
    """The kernel's file systems that every container has, in the order of mounting."""
    return [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            *("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ]


def starting_spec(handler: RuntimeHandler) -> Spec:
    """The spec that a container of `handler` starts from: its base spec if it has one, else the defaults.

    The parts that every later step relies on are there in both cases.
    """
    if handler.base_spec is None:
        return default_spec()
    spec = copy.deepcopy(handler.base_spec)
    spec.setdefault("ociVersion", OCI_VERSION)
    spec.setdefault("mounts", [])
    process = spec.setdefault("process", {})
    process.setdefault("cwd", "/")
    process.setdefault("env", [])
    linux = spec.setdefault("linux", {})
    linux.setdefault("resources", {})
    return spec


def _mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
