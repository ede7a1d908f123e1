"""What the server's container is given of the host: all that a CRI server works on, and nothing else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cri.oci.spec import OCI_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cri.oci.spec import Mount, Spec

SHARED_DIRECTORIES: Final = ("/run", "/var/lib")
"""Where the server mounts what containerd and the kubelet must see, and they what it must see."""
OTHER_DIRECTORIES: Final = (
    "/dev",
    "/sys",
    "/var/log",
    "/etc/cni",
    "/etc/containerd",
    "/etc/cri-shim",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/opt/cni",
    "/usr/lib/cni",
    "/usr/libexec/cni",
)
"""Files and directories of the host that are wanted where they are there."""
PATH: Final = "/opt/cri-shim/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPEN_FILES: Final = 1 << 20
CGROUP: Final = "/cri-shim"


def log_keeper_cgroup(cgroup: str) -> str:
    """The log keeper's beside the server's: runc ends all that is in the server's, and below it, with the server."""
    return f"{cgroup.rstrip('/')}-log-keeper"


def server_specification(
    arguments: Sequence[str],
    *,
    shared: Iterable[str],
    others: Iterable[str],
    capabilities: Sequence[str],
    open_files: int = OPEN_FILES,
    cgroup: str = CGROUP,
) -> Spec:
    """The OCI runtime specification: the host's namespaces but for the file system, all of the given capabilities.

    `shared` are directories in which mounts go both ways (so the root's propagation must not cut them off), `others`
    are bound as they are. All of them keep their paths, because containerd is told of paths.
    """
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["cri-shim", "serve", "--log-keeper-cgroup", log_keeper_cgroup(cgroup), *arguments],
            "env": [f"PATH={PATH}"],
            "cwd": "/",
            "capabilities": {
                "bounding": [*capabilities],
                "effective": [*capabilities],
                "permitted": [*capabilities],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": open_files, "soft": open_files}],
            "noNewPrivileges": False,
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
            *(_bound(path, "rslave") for path in others),
            *(_bound(path, "rshared") for path in shared),
        ],
        "linux": {
            "namespaces": [{"type": "mount"}],
            "rootfsPropagation": "rshared",
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": True, "access": "rwm"}]},
        },
    }


def _bound(path: str, propagation: str) -> Mount:
    return {"destination": path, "type": "bind", "source": path, "options": ["rbind", "rw", propagation]}
