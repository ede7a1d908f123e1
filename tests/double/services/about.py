"""Version and introspection: what the double says it is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import grpc
from google.protobuf import empty_pb2

from api.wire.containerd import (
    introspection_pb2,
    introspection_pb2_grpc,
    types_pb2,
    version_pb2,
    version_pb2_grpc,
)
from api.wire.grpc import status_pb2
from tests.double.calls import Context
from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import Refusal
from tests.double.services.snapshots import SNAPSHOTTERS, snapshotter_root
from tests.double.state import State

VERSION = "1.6.20~double"
REVISION = "0000000000000000000000000000000000000000"


class VersionService(version_pb2_grpc.VersionServicer):
    """containerd.services.version.v1.Version"""

    async def Version(self, request: empty_pb2.Empty, context: Context) -> version_pb2.VersionResponse:
        return version_pb2.VersionResponse(version=VERSION, revision=REVISION)


class IntrospectionService(introspection_pb2_grpc.IntrospectionServicer):
    """containerd.services.introspection.v1.Introspection"""

    def __init__(self, state: State) -> None:
        self.plugins = default_plugins(state)
        for snapshotter in SNAPSHOTTERS:
            snapshotter_root(state, snapshotter).mkdir(parents=True)
        self._uuid = str(uuid.uuid4())

    async def Plugins(
        self, request: introspection_pb2.PluginsRequest, context: Context
    ) -> introspection_pb2.PluginsResponse:
        matches = compile_filters(request.filters)
        return introspection_pb2.PluginsResponse(
            plugins=[plugin for plugin in self.plugins if matches(lookup_in(_fields(plugin)))]
        )

    async def PluginInfo(
        self, request: introspection_pb2.PluginInfoRequest, context: Context
    ) -> introspection_pb2.PluginInfoResponse:
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "unknown method PluginInfo")

    async def Server(self, request: empty_pb2.Empty, context: Context) -> introspection_pb2.ServerResponse:
        # The 1.6 line tells neither PID nor PID namespace.
        return introspection_pb2.ServerResponse(uuid=self._uuid)


def default_plugins(state: State) -> list[introspection_pb2.Plugin]:
    """What a 1.6 daemon shows of interest to clients: snapshotters, a differ, runtime and services; no CRI."""
    linux = types_pb2.Platform(os="linux", architecture="amd64")
    plugins = [
        introspection_pb2.Plugin(
            type="io.containerd.snapshotter.v1",
            id=snapshotter,
            platforms=[linux],
            exports={"root": str(snapshotter_root(state, snapshotter))},
        )
        for snapshotter in SNAPSHOTTERS
    ]
    plugins.append(introspection_pb2.Plugin(type="io.containerd.differ.v1", id="walking", platforms=[linux]))
    plugins.append(introspection_pb2.Plugin(type="io.containerd.runtime.v2", id="task", platforms=[linux]))
    plugins += [
        introspection_pb2.Plugin(type="io.containerd.grpc.v1", id=service)
        for service in ("containers", "content", "diff", "events", "images", "leases", "snapshots", "tasks")
    ]
    plugins.append(
        introspection_pb2.Plugin(
            type="io.containerd.snapshotter.v1",
            id="zfs",
            init_err=status_pb2.Status(code=2, message="path must be a zfs filesystem: skip plugin"),
        )
    )
    return plugins


def _fields(plugin: introspection_pb2.Plugin) -> Mapping[str, str | Mapping[str, str]]:
    return {"type": plugin.type, "id": plugin.id, "capabilities": dict.fromkeys(plugin.capabilities, "")}
