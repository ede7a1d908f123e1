"""Introspection: which plugins the daemon has, and who it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import empty_pb2

from api.containerd import typed_value
from api.containerd.calls import Link, Unary
from api.wire.containerd import introspection_pb2, introspection_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd.typed_value import TypedValue

SNAPSHOTTER = "io.containerd.snapshotter.v1"
"""Plugin type of snapshotters; the ID is the snapshotter's name, `exports["root"]` its directory."""

DIFFER = "io.containerd.differ.v1"
GRPC = "io.containerd.grpc.v1"
TRANSFER = "io.containerd.transfer.v1"
SANDBOX_CONTROLLER = "io.containerd.sandbox.controller.v1"
RUNTIME = "io.containerd.runtime.v2"


@dataclass(frozen=True, slots=True)
class Platform:
    """What a plugin serves."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin of the daemon, loaded or not."""

    type: str
    id: str
    platforms: tuple[Platform, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    error: str | None = None
    """Why it is not working, for those that failed or were skipped; None of a working plugin."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin with what it says about itself."""

    plugin: Plugin
    extra: TypedValue | None
    """Of runtimes `containerd.types.RuntimeInfo`."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who the daemon is."""

    uuid: str
    """Stays the same over restarts."""
    pid: int
    """0 from daemons before 1.7."""
    pidns: int
    """Inode of its PID namespace; 0 from daemons before 1.7."""
    deprecations: tuple[str, ...]
    """Warnings about its configuration."""


class Introspection:
    """The daemon about itself; no namespace is involved."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(introspection_pb2_grpc.IntrospectionStub)
        self._plugins = Unary(link, stub.Plugins, "Introspection", "Plugins")
        self._plugin_info = Unary(link, stub.PluginInfo, "Introspection", "PluginInfo")
        self._server = Unary(link, stub.Server, "Introspection", "Server")

    async def plugins(self, *filters: str, timeout: float | None = None) -> list[Plugin]:
        """The plugins that match any of the filters (`type==io.containerd.snapshotter.v1,id==overlayfs`)."""
        answer = await self._plugins(introspection_pb2.PluginsRequest(filters=filters), timeout)
        return [_from_wire(plugin) for plugin in answer.plugins]

    async def plugin_info(
        self,
        type: str,  # noqa: A002 - the fields' own names
        id: str,  # noqa: A002
        options: TypedValue | None = None,
        *,
        timeout: float | None = None,
    ) -> PluginInfo:
        """What a plugin says about itself; of runtimes this starts the shim's binary, so keep the answer.

        Raises Unimplemented before containerd 2.0, NotFound.
        """
        request = introspection_pb2.PluginInfoRequest(type=type, id=id, options=typed_value.to_wire(options))
        answer = await self._plugin_info(request, timeout)
        return PluginInfo(_from_wire(answer.plugin), typed_value.from_wire_or_none(answer.extra))

    async def server(self, *, timeout: float | None = None) -> ServerInfo:
        """Who the daemon is."""
        answer = await self._server(empty_pb2.Empty(), timeout)
        return ServerInfo(
            answer.uuid, answer.pid, answer.pidns, tuple(warning.message for warning in answer.deprecations)
        )


def _from_wire(plugin: introspection_pb2.Plugin) -> Plugin:
    failed = plugin.HasField("init_err")
    return Plugin(
        type=plugin.type,
        id=plugin.id,
        platforms=tuple(
            Platform(platform.os, platform.architecture, platform.variant) for platform in plugin.platforms
        ),
        exports=dict(plugin.exports),
        capabilities=tuple(plugin.capabilities),
        error=(plugin.init_err.message or f"code {plugin.init_err.code}") if failed else None,
    )
