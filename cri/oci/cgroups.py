"""Where a container's cgroup lies, in the notation of the runtime's cgroup driver (runc: docs/systemd.md)."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from cri.oci.handler import RUNC_TYPE
from cri.oci.refusals import bad_value, check_plain

if TYPE_CHECKING:
    from cri.oci.handler import RuntimeHandler
    from cri.oci.settings import OciSettings

#: Prefix of the systemd scopes, which cAdvisor and other node agents look for.
SCOPE_PREFIX = "cri-containerd"

_FIELD = "config.linux.cgroup_parent"


def cgroups_path(parent: str, container_id: str, handler: RuntimeHandler, settings: OciSettings) -> str:
    """`linux.cgroupsPath` below the pod's `parent`: a path, or slice:prefix:name for systemd.

    Without a parent the container goes below the configured default, or system.slice. Raises InvalidArgument
    when the parent does not fit the driver: runc would then put the container somewhere else without a word.
    """
    if not parent:
        if handler.systemd_cgroup:
            return f"system.slice:{SCOPE_PREFIX}:{container_id}"
        return posixpath.join(settings.default_cgroup_parent, container_id)
    _check_path(parent)
    name = posixpath.basename(parent.rstrip("/"))
    is_slice = name.endswith(".slice")
    if handler.runtime_type == RUNC_TYPE and is_slice != handler.systemd_cgroup:
        driver = "systemd" if handler.systemd_cgroup else "cgroupfs"
        wanted = "a slice (….slice)" if handler.systemd_cgroup else "a path whose last part is no slice"
        raise bad_value(
            _FIELD,
            parent,
            f"{wanted}, since runtime handler {handler.name!r} uses the {driver} cgroup driver",
        )
    if is_slice:
        return f"{name}:{SCOPE_PREFIX}:{container_id}"
    return posixpath.join(parent, container_id)


def pod_cgroup(parent: str) -> str:
    """Path in the cgroup tree of the pod's `parent`, "" without one or with the root's.

    A slice's place follows from its name alone.
    """
    name = posixpath.basename(parent.rstrip("/"))
    if not name.endswith(".slice"):
        return f"/{parent.strip('/')}" if parent.strip("/") else ""
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts)))


def cgroup_of_path(cgroups_path: str) -> str:
    """Path in the cgroup tree of a container with this `linux.cgroupsPath`, in either driver's notation."""
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        return cgroups_path
    parent, prefix, name = parts
    return f"{pod_cgroup(parent)}/{prefix}-{name}.scope"


def container_cgroup(parent: str, container_id: str, default_parent: str) -> str:
    """Path in the cgroup tree of a container of the pod whose request named `parent`, with either driver."""
    directory = pod_cgroup(parent) or default_parent
    name = f"{SCOPE_PREFIX}-{container_id}.scope" if directory.endswith(".slice") else container_id
    return posixpath.join(directory, name)


def kept_by_kubelet(cgroup: str) -> bool:
    """Whether the kubelet keeps this cgroup: its tree is called kubepods, with either driver."""
    return any(part.removesuffix(".slice").split("-")[0] == "kubepods" for part in cgroup.split("/"))


def _check_path(parent: str) -> None:
    check_plain(_FIELD, parent)
    if ":" in parent or ".." in parent.split("/"):
        raise bad_value(_FIELD, parent, "a cgroup path without '..' and ':'")
