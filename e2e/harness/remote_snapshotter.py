"""A remote snapshotter for containerd's `[proxy_plugins]`: it knows some layers without anybody having fetched them.

Asked by the labels of containerd's CRI to prepare a layer that it knows, it has the committed snapshot at once and
answers AlreadyExists, as lazy-loading snapshotters do. Everything else is a plain snapshotter that copies the parent's
tree, as containerd's `native` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf import empty_pb2

from api.wire.containerd import snapshots_pb2 as wire
from api.wire.containerd import snapshots_pb2_grpc, types_pb2
from e2e.harness.cri import runtime_ready
from e2e.harness.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from e2e.harness.node import Node

NAME = "remote"
REF_LABEL = "containerd.io/snapshot.ref"
LAYER_LABEL = "containerd.io/snapshot/cri.layer-digest"
Context = grpc.aio.ServicerContext[object, object]


@dataclass(slots=True)
class _Snapshot:
    info: wire.Info
    directory: Path


@dataclass(slots=True)
class RemoteSnapshotter(snapshots_pb2_grpc.SnapshotsServicer):
    """One snapshotter; `layers` are the tars that it knows, by the digest of the layer's blob."""

    directory: Path
    layers: dict[str, bytes] = field(default_factory=dict)
    asked: list[Mapping[str, str]] = field(default_factory=list)
    """The labels of each Prepare."""
    _held: dict[str, _Snapshot] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def Prepare(
        self, request: wire.PrepareSnapshotRequest, context: Context
    ) -> wire.PrepareSnapshotResponse:
        self.asked.append(dict(request.labels))
        tar = self.layers.get(request.labels[LAYER_LABEL]) if LAYER_LABEL in request.labels else None
        if tar is not None and REF_LABEL in request.labels:
            known = await self._create(request, wire.COMMITTED)
            await asyncio.to_thread(_extract, tar, known.directory)
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "the layer is known")
        return wire.PrepareSnapshotResponse(mounts=_mounts(await self._create(request, wire.ACTIVE)))

    async def View(self, request: wire.ViewSnapshotRequest, context: Context) -> wire.ViewSnapshotResponse:
        return wire.ViewSnapshotResponse(mounts=_mounts(await self._create(request, wire.VIEW)))

    async def Mounts(self, request: wire.MountsRequest, context: Context) -> wire.MountsResponse:
        return wire.MountsResponse(mounts=_mounts(await self._find(request.key, context)))

    async def Commit(self, request: wire.CommitSnapshotRequest, context: Context) -> empty_pb2.Empty:
        active = await self._find(request.key, context)
        info = wire.Info(
            name=request.name, parent=active.info.parent, kind=wire.COMMITTED, labels=request.labels
        )
        self._held[request.name] = _Snapshot(info, active.directory)
        del self._held[request.key]
        return empty_pb2.Empty()

    async def Remove(self, request: wire.RemoveSnapshotRequest, context: Context) -> empty_pb2.Empty:
        snapshot = await self._find(request.key, context)
        del self._held[request.key]
        await asyncio.to_thread(shutil.rmtree, snapshot.directory)
        return empty_pb2.Empty()

    async def Stat(self, request: wire.StatSnapshotRequest, context: Context) -> wire.StatSnapshotResponse:
        return wire.StatSnapshotResponse(info=(await self._find(request.key, context)).info)

    async def List(
        self, request: wire.ListSnapshotsRequest, context: Context
    ) -> AsyncIterator[wire.ListSnapshotsResponse]:
        # Without regard for filters, which containerd applies once more.
        yield wire.ListSnapshotsResponse(info=[snapshot.info for snapshot in self._held.values()])

    async def Usage(self, request: wire.UsageRequest, context: Context) -> wire.UsageResponse:
        await self._find(request.key, context)
        return wire.UsageResponse(size=4096, inodes=1)

    async def Cleanup(self, request: wire.CleanupRequest, context: Context) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    @property
    def names(self) -> list[str]:
        """What it holds."""
        return sorted(self._held)

    async def _create(
        self, request: wire.PrepareSnapshotRequest | wire.ViewSnapshotRequest, kind: wire.Kind.ValueType
    ) -> _Snapshot:
        directory = self.directory / str(next(self._numbers))
        directory.mkdir(parents=True)
        if request.parent:
            parent = self._held[request.parent].directory
            copy = await asyncio.create_subprocess_exec("cp", "-a", f"{parent}/.", directory)
            assert await copy.wait() == 0
        info = wire.Info(name=request.key, parent=request.parent, kind=kind, labels=request.labels)
        self._held[request.key] = snapshot = _Snapshot(info, directory)
        return snapshot

    async def _find(self, key: str, context: Context) -> _Snapshot:
        snapshot = self._held.get(key)
        if snapshot is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"snapshot {key} does not exist")
        return snapshot


@contextlib.asynccontextmanager
async def remote_snapshotter(node: Node, directory: Path) -> AsyncIterator[RemoteSnapshotter]:
    """Serve one to the node's containerd, which is restarted for it, before and after."""
    snapshotter = RemoteSnapshotter(directory)
    server = grpc.aio.server()
    snapshots_pb2_grpc.add_SnapshotsServicer_to_server(snapshotter, server)
    address = node.directory / f"{NAME}.sock"
    server.add_insecure_port(f"unix:{address}")
    await server.start()
    file = node.containerd.layout.configuration_file
    usual = file.read_text()
    file.write_text(f'{usual}\n[proxy_plugins.{NAME}]\ntype = "snapshot"\naddress = "{address}"\n')
    try:
        await _restart(node)
        yield snapshotter
    finally:
        file.write_text(usual)
        await _restart(node)
        await server.stop(1)
        address.unlink(missing_ok=True)


async def _restart(node: Node) -> None:
    await node.containerd.stop()
    await node.containerd.start()
    await eventually(lambda: runtime_ready(node.cri), bool, "RuntimeReady")


def _extract(tar: bytes, directory: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        archive.extractall(directory, filter="tar")


def _mounts(snapshot: _Snapshot) -> list[types_pb2.Mount]:
    mode = "ro" if snapshot.info.kind == wire.VIEW else "rw"
    return [types_pb2.Mount(type="bind", source=str(snapshot.directory), options=[mode, "rbind"])]
