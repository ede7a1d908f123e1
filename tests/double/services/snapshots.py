"""Snapshots of an overlay kind, with real directories: who is root can really mount them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from google.protobuf import empty_pb2

from api.wire.containerd import event_types_pb2, snapshots_pb2, snapshots_pb2_grpc, types_pb2
from tests.double.calls import Context, caller
from tests.double.exchange import Exchange
from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import (
    already_exists,
    failed_precondition,
    found,
    invalid_argument,
    not_found,
)
from tests.double.services.leases import lease_to_caller, unlease_from_caller
from tests.double.state import Snapshot, State, now, stored_labels, timestamp, update_labels

TARGET_LABEL = "containerd.io/snapshot.ref"
SNAPSHOTTERS = ("overlayfs", "native")
LIST_BLOCK = 100


class SnapshotsService(snapshots_pb2_grpc.SnapshotsServicer):
    """containerd.services.snapshots.v1.Snapshots"""

    def __init__(self, state: State, exchange: Exchange) -> None:
        self._state = state
        self._exchange = exchange

    async def Prepare(
        self, request: snapshots_pb2.PrepareSnapshotRequest, context: Context
    ) -> snapshots_pb2.PrepareSnapshotResponse:
        snapshot = self._create(request, snapshots_pb2.ACTIVE)
        event = event_types_pb2.SnapshotPrepare(key=request.key, parent=request.parent)
        self._exchange.publish(caller().namespace, "/snapshot/prepare", event)
        return snapshots_pb2.PrepareSnapshotResponse(mounts=self._mounts(request.snapshotter, snapshot))

    async def View(
        self, request: snapshots_pb2.ViewSnapshotRequest, context: Context
    ) -> snapshots_pb2.ViewSnapshotResponse:
        snapshot = self._create(request, snapshots_pb2.VIEW)
        return snapshots_pb2.ViewSnapshotResponse(mounts=self._mounts(request.snapshotter, snapshot))

    async def Mounts(
        self, request: snapshots_pb2.MountsRequest, context: Context
    ) -> snapshots_pb2.MountsResponse:
        snapshot = self._find(request.snapshotter, request.key)
        if snapshot.info.kind == snapshots_pb2.COMMITTED:
            raise failed_precondition(f"requested snapshot {request.key} not active nor view")
        return snapshots_pb2.MountsResponse(mounts=self._mounts(request.snapshotter, snapshot))

    async def Commit(self, request: snapshots_pb2.CommitSnapshotRequest, context: Context) -> empty_pb2.Empty:
        namespace = self._state.namespace(caller().namespace)
        snapshots = self._of(request.snapshotter)
        if request.name in snapshots:
            raise already_exists(f'snapshot "{request.name}"')
        labels = stored_labels(request.labels, "info.Labels")
        active = self._find(request.snapshotter, request.key)
        if active.info.kind != snapshots_pb2.ACTIVE:
            raise failed_precondition(f"failed to commit snapshot {request.key}: snapshot is not active")
        kind = f"snapshots/{request.snapshotter}"
        lease_to_caller(namespace, kind, request.name)
        committed = _info(request.name, active.info.parent, snapshots_pb2.COMMITTED, labels)
        snapshots[request.name] = Snapshot(committed, active.directory)
        del snapshots[request.key]
        unlease_from_caller(namespace, kind, request.key)
        event = event_types_pb2.SnapshotCommit(key=request.key, name=request.name)
        self._exchange.publish(namespace.name, "/snapshot/commit", event)
        return empty_pb2.Empty()

    async def Remove(self, request: snapshots_pb2.RemoveSnapshotRequest, context: Context) -> empty_pb2.Empty:
        namespace = self._state.namespace(caller().namespace)
        snapshots = self._of(request.snapshotter)
        snapshot = self._find(request.snapshotter, request.key)
        if any(other.info.parent == request.key for other in snapshots.values()):
            raise failed_precondition("cannot remove snapshot with child")
        del snapshots[request.key]
        unlease_from_caller(namespace, f"snapshots/{request.snapshotter}", request.key)
        await asyncio.to_thread(shutil.rmtree, snapshot.directory, ignore_errors=True)
        event = event_types_pb2.SnapshotRemove(key=request.key)
        self._exchange.publish(namespace.name, "/snapshot/remove", event)
        return empty_pb2.Empty()

    async def Stat(
        self, request: snapshots_pb2.StatSnapshotRequest, context: Context
    ) -> snapshots_pb2.StatSnapshotResponse:
        return snapshots_pb2.StatSnapshotResponse(info=self._find(request.snapshotter, request.key).info)

    async def Update(
        self, request: snapshots_pb2.UpdateSnapshotRequest, context: Context
    ) -> snapshots_pb2.UpdateSnapshotResponse:
        info = self._find(request.snapshotter, request.info.name).info
        paths = list(request.update_mask.paths) or ["labels"]
        for path in update_labels(info.labels, request.info.labels, paths, "info.Labels"):
            raise invalid_argument(f'cannot update "{path}" field on snapshot "{info.name}"')
        info.updated_at.CopyFrom(timestamp(now()))
        return snapshots_pb2.UpdateSnapshotResponse(info=info)

    async def List(
        self, request: snapshots_pb2.ListSnapshotsRequest, context: Context
    ) -> AsyncIterator[snapshots_pb2.ListSnapshotsResponse]:
        matches = compile_filters(request.filters)
        infos = [
            snapshot.info
            for _, snapshot in sorted(self._of(request.snapshotter).items())
            if matches(lookup_in(_fields(snapshot.info)))
        ]
        for start in range(0, len(infos), LIST_BLOCK):
            yield snapshots_pb2.ListSnapshotsResponse(info=infos[start : start + LIST_BLOCK])

    async def Usage(
        self, request: snapshots_pb2.UsageRequest, context: Context
    ) -> snapshots_pb2.UsageResponse:
        snapshot = self._find(request.snapshotter, request.key)
        size, inodes = await asyncio.to_thread(_usage, snapshot.directory / "fs")
        return snapshots_pb2.UsageResponse(size=size, inodes=inodes)

    async def Cleanup(self, request: snapshots_pb2.CleanupRequest, context: Context) -> empty_pb2.Empty:
        self._of(request.snapshotter)
        return empty_pb2.Empty()

    def _of(self, snapshotter: str) -> dict[str, Snapshot]:
        if snapshotter not in SNAPSHOTTERS:
            raise invalid_argument(f"snapshotter not loaded: {snapshotter}")
        return self._state.namespace(caller().namespace).snapshots[snapshotter]

    def _find(self, snapshotter: str, key: str) -> Snapshot:
        return found(self._of(snapshotter).get(key), f"snapshot {key} does not exist")

    def _create(
        self,
        request: snapshots_pb2.PrepareSnapshotRequest | snapshots_pb2.ViewSnapshotRequest,
        kind: snapshots_pb2.Kind.ValueType,
    ) -> Snapshot:
        namespace = self._state.namespace(caller().namespace)
        snapshots = self._of(request.snapshotter)
        labels = stored_labels(request.labels, "info.Labels")
        target = labels.get(TARGET_LABEL)
        if target and target in snapshots:
            raise already_exists(f'target snapshot "{target}"')
        if request.key in snapshots:
            raise already_exists(f'snapshot "{request.key}"')
        if request.parent and request.parent not in snapshots:
            raise not_found(f"parent snapshot {request.parent} does not exist")
        if request.parent and snapshots[request.parent].info.kind != snapshots_pb2.COMMITTED:
            raise invalid_argument(f'parent "{request.parent}" is not committed snapshot')
        lease_to_caller(namespace, f"snapshots/{request.snapshotter}", request.key)
        directory = (
            snapshotter_root(self._state, request.snapshotter) / "snapshots" / str(self._state.next_number())
        )
        for part in ("fs", "work"):
            (directory / part).mkdir(parents=True)
        snapshot = Snapshot(_info(request.key, request.parent, kind, labels), directory)
        snapshots[request.key] = snapshot
        return snapshot

    def _mounts(self, snapshotter: str, snapshot: Snapshot) -> list[types_pb2.Mount]:
        """As overlayfs says it: a bind mount where one directory is all there is, else an overlay."""
        layers = [str(directory / "fs") for directory in self._ancestors(snapshotter, snapshot)]
        read_only = snapshot.info.kind == snapshots_pb2.VIEW
        own = str(snapshot.directory / "fs")
        if not layers:
            return [_bind(own, read_only=read_only)]
        if read_only and len(layers) == 1:
            return [_bind(layers[0], read_only=True)]
        options = [f"lowerdir={':'.join(layers)}"]
        if not read_only:
            options = ["index=off", f"workdir={snapshot.directory / 'work'}", f"upperdir={own}", *options]
        return [types_pb2.Mount(type="overlay", source="overlay", options=options)]

    def _ancestors(self, snapshotter: str, snapshot: Snapshot) -> list[Path]:
        snapshots = self._of(snapshotter)
        directories = []
        while snapshot.info.parent:
            snapshot = snapshots[snapshot.info.parent]
            directories.append(snapshot.directory)
        return directories


def snapshotter_root(state: State, snapshotter: str) -> Path:
    """What Introspection exports as the snapshotter's root."""
    return state.directory / f"io.containerd.snapshotter.v1.{snapshotter}"


def _bind(directory: str, *, read_only: bool) -> types_pb2.Mount:
    return types_pb2.Mount(type="bind", source=directory, options=["ro" if read_only else "rw", "rbind"])


def _info(
    name: str, parent: str, kind: snapshots_pb2.Kind.ValueType, labels: Mapping[str, str]
) -> snapshots_pb2.Info:
    moment = timestamp(now())
    return snapshots_pb2.Info(
        name=name, parent=parent, kind=kind, labels=labels, created_at=moment, updated_at=moment
    )


def _fields(info: snapshots_pb2.Info) -> dict[str, str | Mapping[str, str]]:
    return {
        "kind": snapshots_pb2.Kind.Name(info.kind).lower(),
        "name": info.name,
        "parent": info.parent,
        "labels": info.labels,
    }


def _usage(tree: Path) -> tuple[int, int]:
    size, inodes = 0, 0
    for directory, _, files in os.walk(tree):
        inodes += 1 + len(files)
        size += sum(os.lstat(os.path.join(directory, file)).st_size for file in files)
    return size, inodes
