"""What must be on the machine. A missing part is a failure that names its remedy, never a skipped test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cri.app.embedded_network import plugin_directories
from cri.app.host_images import host_busybox
from cri.errors import FailedPrecondition

PROGRAMS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "iptables": "iptables",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "umount": "mount",
}
"""Programs and the Debian packages that they are in."""


class RequirementError(Exception):
    """This machine cannot run the end-to-end tests; the message says what to do."""


def demand_requirements() -> None:
    """Raise RequirementError with everything that is missing at once."""
    missing = []
    if os.geteuid() != 0:
        missing.append("run as root (namespaces, mounts and cgroups need it): sudo make e2e")
    packages = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if packages:
        missing.append(f"apt-get install {' '.join(packages)}")
    for check in (plugin_directories, host_busybox):
        try:
            check()
        except FailedPrecondition as problem:
            missing.append(problem.message)
    if not Path("/sys/fs/cgroup").is_dir() or not any(Path("/sys/fs/cgroup").iterdir()):
        missing.append("mount a cgroup hierarchy at /sys/fs/cgroup")
    if missing:
        raise RequirementError("cannot run the end-to-end tests:\n  " + "\n  ".join(missing))
