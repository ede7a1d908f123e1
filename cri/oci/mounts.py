"""The mounts of sandboxes and containers: defaults, the pod's files, the request's mounts and their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Propagation = Literal["private", "slave", "shared"]


@dataclass(frozen=True, slots=True)
class MountSource:
    """What the kernel says of a requested `host_path` (made by the caller as a directory if it was missing)."""

    #: The path with all links resolved.
    path: str
    #: Mount point that the path lies on, for messages.
    mount_point: str = "/"
    #: Propagation of that mount: `shared` when its mountinfo line has shared:N, else `slave` for master:N.
    propagation: Propagation = "private"


@dataclass(frozen=True, slots=True)
class AnonymousVolume:
    """A directory of the container's own for a VOLUME of its image."""

    destination: str
    source: str
