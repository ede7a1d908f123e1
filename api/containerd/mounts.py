"""Mounts: how a snapshotter says where a file system tree is, and how a task or a diff is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire.containerd import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount to be made by the caller (or by the shim, for a task's root file system)."""

    type: str
    """File system type: "overlay", "bind", ..."""
    source: str
    target: str = ""
    """Path below the root to be mounted; empty for the root itself. Known from containerd 1.7 on."""
    options: tuple[str, ...] = ()


def to_wire(mounts: Iterable[Mount]) -> list[types_pb2.Mount]:
    """For a request."""
    return [
        types_pb2.Mount(type=mount.type, source=mount.source, target=mount.target, options=mount.options)
        for mount in mounts
    ]


def from_wire(mounts: Iterable[types_pb2.Mount]) -> list[Mount]:
    """From a response."""
    return [Mount(mount.type, mount.source, mount.target, tuple(mount.options)) for mount in mounts]
