"""Where on disk a sandbox's and a container's few files are: only what must be a file.

Below the root directory things that survive a reboot, below the state directory things that need not. Ids are
checked here, because they become parts of paths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cri.errors import Internal

NETWORK_NAMESPACE_DIRECTORY = Path("/run/netns")
NETWORK_NAMESPACE_PREFIX = "cri-shim-"
"""By this prefix the janitor tells our namespaces from other people's."""

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NodePaths:
    """The layout below the configured `root` and `state` directories."""

    root: Path
    state: Path
    netns_under_state: bool = False

    @property
    def standing(self) -> tuple[Path, ...]:
        """The directories that are made once, at start, and stay."""
        below_root = (self.root / name for name in ("sandboxes", "containers"))
        below_state = (self.state / name for name in ("sandboxes", "containers", "layers"))
        return (self.root, self.state, *below_root, *below_state)

    def network_namespace(self, sandbox_id: str) -> Path:
        """The pin of a sandbox's network namespace; its name is short enough for `ip netns`."""
        directory = self.state / "netns" if self.netns_under_state else NETWORK_NAMESPACE_DIRECTORY
        return directory / f"{NETWORK_NAMESPACE_PREFIX}{_checked(sandbox_id)[:32]}"

    def sandbox_files(self, sandbox_id: str) -> Path:
        """resolv.conf, hostname and hosts of a sandbox."""
        return self.root / "sandboxes" / _checked(sandbox_id)

    def sandbox_state(self, sandbox_id: str) -> Path:
        """Mounts of a sandbox that do not survive a reboot."""
        return self.state / "sandboxes" / _checked(sandbox_id)

    def shared_memory(self, sandbox_id: str) -> Path:
        """The mount point of the pod's /dev/shm."""
        return self.sandbox_state(sandbox_id) / "shm"

    def image_volumes(self, sandbox_id: str) -> Path:
        """Mount points of the images that the pod's containers use as volumes, each named by its image's digest."""
        return self.sandbox_state(sandbox_id) / "volumes"

    def user_namespace(self, sandbox_id: str) -> Path:
        """The pin of a sandbox's user namespace, where it has one of its own."""
        return self.sandbox_state(sandbox_id) / "user"

    def ipc_namespace(self, sandbox_id: str) -> Path:
        """The pin of a sandbox's IPC namespace, where no process holds it."""
        return self.sandbox_state(sandbox_id) / "ipc"

    def uts_namespace(self, sandbox_id: str) -> Path:
        """The pin of a sandbox's UTS namespace, likewise."""
        return self.sandbox_state(sandbox_id) / "uts"

    def sysfs(self, sandbox_id: str) -> Path:
        """Where the sysfs of a privileged pod's network is held writable, likewise."""
        return self.sandbox_state(sandbox_id) / "sys"

    def id_mapped_layers(self, identifier: str) -> Path:
        """Where the layers of a sandbox or container are mounted with shifted ids while its task is created.

        Never below a directory that is removed as a tree: what is mounted here is the snapshotter's own.
        """
        return self.state / "layers" / _checked(identifier)

    def container_state(self, container_id: str) -> Path:
        """FIFOs of a container and of its exec processes."""
        return self.state / "containers" / _checked(container_id)

    def container_files(self, container_id: str) -> Path:
        """Anonymous volumes of a container."""
        return self.root / "containers" / _checked(container_id)

    @property
    def log_keeper_socket(self) -> Path:
        """Where the log keeper answers."""
        return self.state / "log-keeper.sock"

    @property
    def cni_cache(self) -> Path:
        """What CNI ADD was given and answered, for a DEL after the configuration changed."""
        return self.root / "cni"


def _checked(identifier: str) -> str:
    if not _ID.fullmatch(identifier):
        raise Internal(f"{identifier!r} is not an id made by this server")
    return identifier
