"""Snapshots: layers of a file system and the writable trees on top of them, of one snapshotter."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from api.containerd import mounts, times
from api.containerd.calls import Link, ServerStream, Unary
from api.wire.containerd import snapshots_pb2, snapshots_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd.mounts import Mount


class SnapshotKind(enum.IntEnum):
    """What may be done with a snapshot; numbers as on the wire."""

    UNKNOWN = 0
    VIEW = 1
    """Read-only tree over a committed parent."""
    ACTIVE = 2
    """Writable tree."""
    COMMITTED = 3
    """Finished; can be a parent and has no mounts."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot's record."""

    name: str
    """The key; of a committed image layer its chain ID."""
    parent: str = ""
    kind: SnapshotKind = SnapshotKind.UNKNOWN
    created_at: int = 0
    """Unix nanoseconds."""
    updated_at: int = 0
    """Unix nanoseconds."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a snapshot itself takes, without its parents."""

    size: int
    """Bytes."""
    inodes: int


class Snapshots:
    """The snapshots of one snapshotter in one namespace.

    A snapshot that no container, label or lease names is removed by the next garbage collection.
    """

    def __init__(self, link: Link, snapshotter: str) -> None:
        self.snapshotter = snapshotter
        stub = link.stub(snapshots_pb2_grpc.SnapshotsStub)
        self._prepare = Unary(link, stub.Prepare, "Snapshots", "Prepare")
        self._view = Unary(link, stub.View, "Snapshots", "View")
        self._mounts = Unary(link, stub.Mounts, "Snapshots", "Mounts")
        self._commit = Unary(link, stub.Commit, "Snapshots", "Commit")
        self._remove = Unary(link, stub.Remove, "Snapshots", "Remove")
        self._stat = Unary(link, stub.Stat, "Snapshots", "Stat")
        self._list = ServerStream(link, stub.List, "Snapshots", "List")
        self._usage = Unary(link, stub.Usage, "Snapshots", "Usage")
        self._update = Unary(link, stub.Update, "Snapshots", "Update")
        self._cleanup = Unary(link, stub.Cleanup, "Snapshots", "Cleanup")

    async def prepare(
        self,
        key: str,
        parent: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Mount]:
        """Make a writable snapshot on a committed parent ("" for an empty one).

        Raises AlreadyExists (the key, or with the label `containerd.io/snapshot.ref` its target, is there),
        NotFound (the parent is not).
        """
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self.snapshotter, key=key, parent=parent, labels=labels or {}
        )
        return mounts.from_wire((await self._prepare(request, timeout)).mounts)

    async def view(
        self,
        key: str,
        parent: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Mount]:
        """Make a read-only snapshot of a committed parent. Raises AlreadyExists, NotFound."""
        request = snapshots_pb2.ViewSnapshotRequest(
            snapshotter=self.snapshotter, key=key, parent=parent, labels=labels or {}
        )
        return mounts.from_wire((await self._view(request, timeout)).mounts)

    async def mounts(self, key: str, *, timeout: float | None = None) -> list[Mount]:
        """The mounts of an active snapshot or a view. Raises NotFound."""
        request = snapshots_pb2.MountsRequest(snapshotter=self.snapshotter, key=key)
        return mounts.from_wire((await self._mounts(request, timeout)).mounts)

    async def commit(
        self,
        name: str,
        key: str,
        labels: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Turn the active snapshot `key` into the committed `name`; the key is gone after.

        Raises AlreadyExists, NotFound.
        """
        request = snapshots_pb2.CommitSnapshotRequest(
            snapshotter=self.snapshotter, name=name, key=key, labels=labels or {}
        )
        await self._commit(request, timeout)

    async def remove(self, key: str, *, timeout: float | None = None) -> None:
        """Raises NotFound, FailedPrecondition (it has children)."""
        request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=self.snapshotter, key=key)
        await self._remove(request, timeout)

    async def stat(self, key: str, *, timeout: float | None = None) -> SnapshotInfo:
        """Raises NotFound."""
        request = snapshots_pb2.StatSnapshotRequest(snapshotter=self.snapshotter, key=key)
        return _from_wire((await self._stat(request, timeout)).info)

    async def list(self, *filters: str, timeout: float | None = None) -> list[SnapshotInfo]:
        """All that match any of the filters (`kind==committed`, `labels."key"==value`)."""
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter=self.snapshotter, filters=filters)
        return [_from_wire(info) async for block in self._list(request, timeout) for info in block.info]

    async def usage(self, key: str, *, timeout: float | None = None) -> Usage:
        """What it takes on disk; of an active one the daemon walks the tree for it. Raises NotFound."""
        request = snapshots_pb2.UsageRequest(snapshotter=self.snapshotter, key=key)
        answer = await self._usage(request, timeout)
        return Usage(answer.size, answer.inodes)

    async def update(self, info: SnapshotInfo, *paths: str, timeout: float | None = None) -> SnapshotInfo:
        """Change the labels named by `paths` ("labels", "labels.KEY"); without paths all of them."""
        request = snapshots_pb2.UpdateSnapshotRequest(
            snapshotter=self.snapshotter,
            info=snapshots_pb2.Info(name=info.name, labels=info.labels),
            update_mask=field_mask_pb2.FieldMask(paths=paths) if paths else None,
        )
        return _from_wire((await self._update(request, timeout)).info)

    async def cleanup(self, *, timeout: float | None = None) -> None:
        """Remove directories of the snapshotter that no snapshot owns any more."""
        await self._cleanup(snapshots_pb2.CleanupRequest(snapshotter=self.snapshotter), timeout)


def _from_wire(info: snapshots_pb2.Info) -> SnapshotInfo:
    return SnapshotInfo(
        name=info.name,
        parent=info.parent,
        kind=SnapshotKind(info.kind),
        created_at=times.from_wire(info.created_at),
        updated_at=times.from_wire(info.updated_at),
        labels=dict(info.labels),
    )
