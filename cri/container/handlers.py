"""Runtime handlers by name: which runtime, snapshotter and spec rules a pod's RuntimeClass stands for.

CRI: the empty name means the default handler; an unknown name is an error of the request.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from api.containerd import TypedValue
    from cri.oci.handler import RuntimeHandler


class SnapshotIds(enum.Enum):
    """Who shifts the owners of an image's files into the ids of a pod's user namespace."""

    FIXED = "nobody"
    MAPPED_BY_SNAPSHOTTER = "the snapshotter, told by labels of the snapshot"
    MAPPED_HERE = "this server, by id-mapped mounts of the layers"


class SandboxMode(enum.Enum):
    """What holds the namespaces of pods."""

    AUTO = "auto"
    """Mounts, where that is possible."""
    PAUSE = "pause"
    """A container that only waits, always."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One `[containerd.runtimes.NAME]` table, ready for use."""

    name: str
    spec: RuntimeHandler
    """What shapes the OCI specs of its containers."""
    options: TypedValue | None
    """Options for the shim, sent with each task."""
    snapshotter: str
    platform: str = ""
    """The platform whose images it runs, such as linux/arm64; "" is this host's."""
    cni_conf_dir: Path | None = None
    """A CNI configuration of its own, else the node's."""
    cni_max_conf_num: int | None = None
    snapshot_ids: SnapshotIds = SnapshotIds.FIXED
    sandbox_mode: SandboxMode | None = None
    """Of its pods, where it differs from the node's."""

    @property
    def runtime_type(self) -> str:
        """containerd's name of the runtime, such as io.containerd.runc.v2."""
        return self.spec.runtime_type


class Handlers:
    """All configured handlers."""

    def __init__(self, handlers: Mapping[str, Handler], default_name: str) -> None:
        """Raises KeyError if `default_name` is not among `handlers`; configuration checks that before."""
        self._handlers = dict(handlers)
        self.default = self._handlers[default_name]

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def get(self, name: str) -> Handler:
        """The handler that a request names. Raises InvalidArgument for an unknown one."""
        if not name:
            return self.default
        handler = self._handlers.get(name)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise InvalidArgument(
                f"runtime_handler {name!r} is not configured on this node (known: {known}); "
                f"add [containerd.runtimes.{name}] or correct the RuntimeClass"
            )
        return handler

    def get_or_default(self, name: str) -> Handler:
        """For objects that exist: their handler may have left the configuration, and they must still be removable."""
        return self._handlers.get(name, self.default)
