"""What a low-level runtime says it can do (OCI runtime-spec, features.md), and what a handler can do by that.

A feature that is not known to be there counts as missing: the kubelet then refuses the pods that need it with a reason,
instead of running them without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cri.oci.host import HostFacts

RECURSIVE_READ_ONLY_KERNEL = (5, 12)
"""mount_setattr(2)."""
ID_MAPPED_PODS_KERNEL = (5, 19)
"""Overlay file systems on id-mapped layers. Volumes in memory need 6.3, which the kubelet looks at itself."""


@dataclass(frozen=True, slots=True)
class RuntimeFeatures:
    """The part of a runtime's features that decides what a handler can do."""

    recursive_read_only: bool = False
    """Mount option `rro` is known."""
    id_mapped_mounts: bool = False
    """`uidMappings` and `gidMappings` of mounts are honoured (runc 1.2)."""
    network_devices: bool = False
    """`netDevices` are honoured (runc 1.4)."""


class _Extension(msgspec.Struct):
    enabled: bool | None = None


class _MountExtensions(msgspec.Struct):
    idmap: _Extension | None = None


class _Linux(msgspec.Struct, rename="camel"):
    namespaces: list[str] = []
    mount_extensions: _MountExtensions | None = None
    net_devices: _Extension | None = None


class _Document(msgspec.Struct, rename="camel"):
    mount_options: list[str] = []
    linux: _Linux | None = None


def parse_features(document: bytes) -> RuntimeFeatures:
    """The features in the JSON that `runc features` prints. Raises `msgspec.DecodeError` for anything else."""
    found = msgspec.json.decode(document, type=_Document)
    linux = found.linux or _Linux()
    extensions = linux.mount_extensions or _MountExtensions()
    id_map = extensions.idmap or _Extension()
    net_devices = linux.net_devices or _Extension()
    return RuntimeFeatures(
        recursive_read_only="rro" in found.mount_options,
        id_mapped_mounts=bool(id_map.enabled) and "user" in linux.namespaces,
        network_devices=bool(net_devices.enabled),
    )


def recursive_read_only_mounts(features: RuntimeFeatures, host: HostFacts) -> bool:
    """Whether containers can have mounts that are read-only with everything below them."""
    return features.recursive_read_only and host.kernel >= RECURSIVE_READ_ONLY_KERNEL


def user_namespaces(features: RuntimeFeatures, host: HostFacts, *, snapshots_map_ids: bool) -> bool:
    """Whether pods can have a user namespace of their own: runtime, kernel and snapshotter must all map ids."""
    return (
        features.id_mapped_mounts
        and snapshots_map_ids
        and host.user_namespaces
        and host.kernel >= ID_MAPPED_PODS_KERNEL
    )
