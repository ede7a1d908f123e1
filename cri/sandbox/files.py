"""The few files of a sandbox: resolv.conf, hostname, hosts, the mount of /dev/shm, its log directory.

/etc/hosts is left to the kubelet, which mounts its own; the copy made here serves clients that do not.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container.image_volumes import unmount_image_volumes
from cri.errors import InvalidArgument
from cri.linux.mounts import is_mount_point, mount_tmpfs, unmount
from cri.linux.namespaces import unpin

if TYPE_CHECKING:
    from cri.state.paths import NodePaths
    from cri.state.records import SandboxRecord

SHARED_MEMORY_BYTES = 64 << 20
SHARED_MEMORY_MODE = 0o1777
MOST_SEARCHES = 32
"""As many search domains as the kubelet allows."""


def hostname_of(record: SandboxRecord) -> str:
    """The pod's host name: the request's, or with host network the node's (CRI: only there it may be empty)."""
    return record.config.hostname or (socket.gethostname() if record.host_network else "")


def prepare_files(paths: NodePaths, record: SandboxRecord) -> None:
    """Make everything that the sandbox's containers will have mounted. Blocking. Safe to repeat."""
    directory = paths.sandbox_files(record.id)
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    (directory / "hostname").write_text(hostname_of(record) + "\n")
    (directory / "resolv.conf").write_bytes(resolv_conf(record.config))
    _copy_or_empty(Path("/etc/hosts"), directory / "hosts")
    if record.config.log_directory:
        _make_log_directory(record.config.log_directory)
    if record.config.linux.security_context.namespace_options.ipc != criv1.NODE:
        shm = paths.shared_memory(record.id)
        shm.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not is_mount_point(shm):
            mount_tmpfs(shm, size=SHARED_MEMORY_BYTES, mode=SHARED_MEMORY_MODE)


def _make_log_directory(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise InvalidArgument(
            f"config.log_directory {path!r} cannot be made: {error.strerror or error}"
        ) from error


def release_mounts(paths: NodePaths, sandbox_id: str) -> None:
    """Unmount what `prepare_files` mounted, the volumes, and namespaces but the network's. Blocking, idempotent."""
    unmount(paths.shared_memory(sandbox_id))
    unmount_image_volumes(paths, sandbox_id)
    unmount(paths.sysfs(sandbox_id))
    for pin in (paths.ipc_namespace, paths.uts_namespace, paths.user_namespace):
        unpin(pin(sandbox_id))


def remove_files(paths: NodePaths, sandbox_id: str) -> None:
    """Remove everything that `prepare_files` made, the log directory excepted: it is the kubelet's."""
    release_mounts(paths, sandbox_id)
    shutil.rmtree(paths.sandbox_state(sandbox_id), ignore_errors=True)
    shutil.rmtree(paths.sandbox_files(sandbox_id), ignore_errors=True)


def resolv_conf(config: criv1.PodSandboxConfig) -> bytes:
    """The pod's resolv.conf: generated from the request's DNS settings, the host's if there are none."""
    if not config.HasField("dns_config"):
        try:
            return Path("/etc/resolv.conf").read_bytes()
        except FileNotFoundError:
            return b""
    dns = config.dns_config
    for field, values in (("servers", dns.servers), ("searches", dns.searches), ("options", dns.options)):
        for value in values:
            if not value or any(character.isspace() or character == "\0" for character in value):
                raise InvalidArgument(f"dns_config.{field}: {value!r} must be one word")
    if len(dns.searches) > MOST_SEARCHES:
        raise InvalidArgument(
            f"dns_config.searches has {len(dns.searches)} domains, at most {MOST_SEARCHES} work"
        )
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "".join(f"{line}\n" for line in lines).encode()


def _copy_or_empty(source: Path, target: Path) -> None:
    try:
        target.write_bytes(source.read_bytes())
    except FileNotFoundError:
        target.write_bytes(b"")
