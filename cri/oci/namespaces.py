"""Which namespaces a container or a sandbox gets: its own, a joined one, or the host's.

A sandbox owns network, IPC, UTS and, when asked, PID and user namespaces; its containers join them by path.
The request's modes (runtime.v1.NamespaceOption) are checked against each other here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.refusals import bad_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cri.oci.handler import RuntimeHandler
    from cri.oci.spec import IdMapping, Namespace

#: Number of ids; 4294967295 itself means "no id" to the kernel.
_IDS = 2**32 - 1

_FIELD = "config.linux.security_context.namespace_options"


@dataclass(frozen=True, slots=True)
class NamespacePaths:
    """Where a sandbox's namespaces are joined; None stands for the host's own, or for none yet."""

    network: str | None = None
    ipc: str | None = None
    uts: str | None = None
    pid: str | None = None
    user: str | None = None

    @classmethod
    def of_process(cls, pid: int, options: criv1.NamespaceOption) -> NamespacePaths:
        """The namespaces of the sandbox process `pid`, without those that `options` takes from the host."""
        here = f"/proc/{pid}/ns"
        own_network = options.network != criv1.NODE
        return cls(
            network=f"{here}/net" if own_network else None,
            ipc=f"{here}/ipc" if options.ipc != criv1.NODE else None,
            uts=f"{here}/uts" if own_network else None,
            pid=f"{here}/pid" if options.pid != criv1.NODE else None,
            user=f"{here}/user" if user_mappings(options) is not None else None,
        )


@dataclass(frozen=True, slots=True)
class UserMappings:
    """The ids of a pod's user namespace: `size` ids from 0 on in the container, from these on outside."""

    host_uid: int
    host_gid: int
    size: int

    def uids(self) -> list[IdMapping]:
        """For `linux.uidMappings` and a mount's `uidMappings`."""
        return [{"containerID": 0, "hostID": self.host_uid, "size": self.size}]

    def gids(self) -> list[IdMapping]:
        """For `linux.gidMappings` and a mount's `gidMappings`."""
        return [{"containerID": 0, "hostID": self.host_gid, "size": self.size}]


def user_mappings(options: criv1.NamespaceOption) -> UserMappings | None:
    """The user namespace that `options` asks for, None for the host's.

    Snapshotters shift ownership by one offset and one length only, so exactly one line for users and one for
    groups, from container id 0 on and of one length, is supported. Raises InvalidArgument for anything else.
    """
    if not options.HasField("userns_options"):
        return None
    wanted = options.userns_options
    field = f"{_FIELD}.userns_options"
    if wanted.mode == criv1.NODE:
        if wanted.uids or wanted.gids:
            raise bad_value(f"{field}.uids", len(wanted.uids or wanted.gids), "no mappings with mode NODE")
        return None
    if wanted.mode != criv1.POD:
        raise bad_value(f"{field}.mode", _mode(wanted.mode), "POD or NODE")
    uids = _only_mapping(f"{field}.uids", wanted.uids)
    gids = _only_mapping(f"{field}.gids", wanted.gids)
    if uids.length != gids.length:
        raise bad_value(f"{field}.gids.length", gids.length, f"{uids.length}, the length of the uids")
    return UserMappings(uids.host_id, gids.host_id, uids.length)


def check_user_namespaces(mappings: UserMappings | None, handler: RuntimeHandler) -> None:
    """Raise InvalidArgument when a user namespace is asked of a handler that has none."""
    if mappings is not None and not handler.user_namespaces:
        raise InvalidArgument(
            f"{_FIELD}.userns_options: runtime handler {handler.name!r} has no user namespaces here; "
            "see its features in the runtime's status"
        )


def sandbox_namespaces(options: criv1.NamespaceOption, paths: NamespacePaths) -> list[Namespace]:
    """Namespaces of a sandbox's process: those pinned at `paths` are joined, others that `options` asks for are new."""
    _check_modes(options)
    if options.pid == criv1.TARGET:
        raise bad_value(f"{_FIELD}.pid", "TARGET", "POD, CONTAINER or NODE for a sandbox")
    namespaces: list[Namespace] = [{"type": "mount"}]
    if options.network != criv1.NODE:
        namespaces += [_joined("network", paths.network), _joined("uts", paths.uts)]
    if options.ipc != criv1.NODE:
        namespaces.append(_joined("ipc", paths.ipc))
    if options.pid != criv1.NODE:
        namespaces.append({"type": "pid"})
    if user_mappings(options) is not None:
        namespaces.append(_joined("user", paths.user))
    return namespaces


def held_namespaces(options: criv1.NamespaceOption, paths: NamespacePaths) -> list[Namespace]:
    """Namespaces of a sandbox without a process: those of `sandbox_namespaces` that outlive processes."""
    return [
        namespace
        for namespace in sandbox_namespaces(options, paths)
        if namespace["type"] not in ("mount", "pid")
    ]


def container_namespaces(
    options: criv1.NamespaceOption,
    sandbox_options: criv1.NamespaceOption,
    paths: NamespacePaths,
    target_pid: str | None,
) -> list[Namespace]:
    """Namespaces of a container; `target_pid` is the path of the PID namespace that mode TARGET names.

    Network, IPC and UTS are always the sandbox's. Raises InvalidArgument for a mode that contradicts it.
    """
    _check_modes(options)
    for name in ("network", "ipc", "pid"):
        if getattr(options, name) == criv1.NODE != getattr(sandbox_options, name):
            raise bad_value(f"{_FIELD}.{name}", "NODE", "POD, since the sandbox has a namespace of its own")
    if user_mappings(options) != user_mappings(sandbox_options):
        raise InvalidArgument(f"{_FIELD}.userns_options: must be the same as the sandbox's")

    namespaces: list[Namespace] = [{"type": "mount"}]
    for kind, path in (("network", paths.network), ("ipc", paths.ipc), ("uts", paths.uts)):
        if path is not None:
            namespaces.append({"type": kind, "path": path})
    if options.pid == criv1.CONTAINER:
        namespaces.append({"type": "pid"})
    elif options.pid == criv1.TARGET:
        if target_pid is None:
            raise bad_value(
                f"{_FIELD}.target_id", options.target_id, "a running container of the same sandbox"
            )
        namespaces.append({"type": "pid", "path": target_pid})
    elif paths.pid is not None:
        namespaces.append({"type": "pid", "path": paths.pid})
    elif sandbox_options.pid != criv1.NODE:
        raise bad_value(
            f"{_FIELD}.pid",
            "POD",
            "CONTAINER or TARGET, since the sandbox was made without a PID namespace to share",
        )
    if paths.user is not None:
        namespaces.append({"type": "user", "path": paths.user})
    return namespaces


def with_namespaces(base: Iterable[Namespace], chosen: Sequence[Namespace]) -> list[Namespace]:
    """`chosen`, after those of a base spec that the request has no say in (cgroup, time)."""
    decided = {"mount", "network", "ipc", "uts", "pid", "user"} | {namespace["type"] for namespace in chosen}
    return [*(namespace for namespace in base if namespace["type"] not in decided), *chosen]


def _joined(kind: str, path: str | None) -> Namespace:
    return {"type": kind} if path is None else {"type": kind, "path": path}


def _check_modes(options: criv1.NamespaceOption) -> None:
    for name, mode in (("network", options.network), ("ipc", options.ipc)):
        if mode not in (criv1.POD, criv1.NODE):
            raise bad_value(f"{_FIELD}.{name}", _mode(mode), "POD or NODE")
    if options.pid not in criv1.NamespaceMode.values():
        raise bad_value(f"{_FIELD}.pid", options.pid, "POD, CONTAINER, NODE or TARGET")


def _mode(mode: int) -> str | int:
    known = mode in criv1.NamespaceMode.values()
    return criv1.NamespaceMode.Name(criv1.NamespaceMode.ValueType(mode)) if known else mode


def _only_mapping(field: str, mappings: Sequence[criv1.IDMapping]) -> criv1.IDMapping:
    if len(mappings) != 1:
        raise bad_value(field, f"{len(mappings)} mappings", "exactly one mapping")
    mapping = mappings[0]
    if mapping.container_id != 0:
        raise bad_value(f"{field}.container_id", mapping.container_id, "0")
    if not 1 <= mapping.length <= _IDS - mapping.host_id:
        raise bad_value(f"{field}.length", mapping.length, f"from 1 to {_IDS} less the host_id")
    return mapping
