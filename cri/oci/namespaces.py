"""Which namespaces a container or a sandbox gets: its own, a joined one, or the host's.

A sandbox owns network, IPC, UTS and, when asked, PID and user namespaces; its containers join them by path. The
request's modes (runtime.v1.NamespaceOption) are checked against each other here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.spec import IdMapping, Namespace

NamespaceType = Literal["pid", "network", "ipc", "uts", "mount", "user", "cgroup"]

#: The kernel's largest user or group id; 4294967295 means "no id".
MAX_ID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class NamespacePaths:
    """Where the containers of a sandbox find its namespaces; None stands for the host's own."""

    network: str | None
    ipc: str | None
    uts: str | None
    pid: str | None
    user: str | None = None

    @classmethod
    def of_process(cls, pid: int, options: criv1.NamespaceOption) -> NamespacePaths:
        """The namespaces of the sandbox process `pid`, leaving out those that `options` takes from the host."""
        here = f"/proc/{pid}/ns"
        host = criv1.NODE
        own_network = options.network != host
        return cls(
            network=f"{here}/net" if own_network else None,
            ipc=f"{here}/ipc" if options.ipc != host else None,
            uts=f"{here}/uts" if own_network else None,
            pid=f"{here}/pid" if options.pid != host else None,
            user=f"{here}/user" if user_mappings(options) is not None else None,
        )


@dataclass(frozen=True, slots=True)
class UserMappings:
    """The ids of a pod's user namespace: container ids from 0 on `size` host ids, one line each."""

    host_uid: int
    host_gid: int
    uid_count: int
    gid_count: int

    def uids(self) -> list[IdMapping]:
        """For `linux.uidMappings` and a mount's `uidMappings`."""
        return [{"containerID": 0, "hostID": self.host_uid, "size": self.uid_count}]

    def gids(self) -> list[IdMapping]:
        """For `linux.gidMappings` and a mount's `gidMappings`."""
        return [{"containerID": 0, "hostID": self.host_gid, "size": self.gid_count}]


def user_mappings(options: criv1.NamespaceOption) -> UserMappings | None:
    """The user namespace that `options` asks for, None for the host's.

    Snapshotters shift ownership by one offset only, so exactly one line that starts at container id 0 is
    supported. Raises InvalidArgument for anything else.
    """
    raise NotImplementedError


def sandbox_namespaces(
    options: criv1.NamespaceOption, network: str | None, user: str | None
) -> list[Namespace]:
    """Namespaces of a sandbox's process. `network` and `user` are pinned ones (`user` None: make a new one)."""
    raise NotImplementedError


def container_namespaces(
    options: criv1.NamespaceOption,
    sandbox_options: criv1.NamespaceOption,
    paths: NamespacePaths,
    target_pid: str | None,
) -> list[Namespace]:
    """Namespaces of a container; `target_pid` is the path of the PID namespace that mode TARGET names."""
    raise NotImplementedError
