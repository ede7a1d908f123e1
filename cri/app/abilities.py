"""Finds out, once at start, what each runtime handler can do, so that its features are reported truthfully.

containerd 2 asks the shim itself (PluginInfo), which knows the runtime that it will use. Older ones cannot; then runc,
or what `BinaryName` says, is asked for its features here. Whatever cannot be found out counts as missing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import errors as containerd_errors
from api.containerd.introspection import RUNTIME, SNAPSHOTTER
from api.containerd.typed_value import to_wire, typed
from api.wire.containerd import runc_pb2, types_pb2
from cri.concurrency.together import all_of
from cri.container.handlers import Handler, Handlers, SnapshotIds
from cri.linux.process import execute
from cri.oci.handler import RUNC_TYPE
from cri.oci.runtime_features import (
    RuntimeFeatures,
    parse_features,
    recursive_read_only_mounts,
    user_namespaces,
)

if TYPE_CHECKING:
    from api.containerd import Client
    from cri.oci.host import HostFacts

log = structlog.get_logger(__name__)

SECONDS = 5.0
REMAPPING = "remap-ids"
"""What containerd calls a snapshotter that maps ids by the labels of a snapshot (1.7 on)."""
LOCAL_OVERLAY = "overlayfs"


async def with_abilities(handlers: Handlers, client: Client, host: HostFacts) -> Handlers:
    """The same handlers with the features that runtime, kernel and snapshotter have. Never fails."""
    remapping = await _remapping_snapshotters(client)
    able = await all_of([_able(handler, client, host, remapping) for handler in handlers])
    return Handlers({handler.name: handler for handler in able}, handlers.default.name)


async def _able(handler: Handler, client: Client, host: HostFacts, remapping: frozenset[str]) -> Handler:
    features = await _features(handler, client)
    ids = _snapshot_ids(handler.snapshotter, remapping)
    spec = replace(
        handler.spec,
        recursive_read_only_mounts=recursive_read_only_mounts(features, host),
        user_namespaces=user_namespaces(features, host, snapshots_map_ids=ids is not SnapshotIds.FIXED),
        network_devices=features.network_devices,
    )
    log.debug(
        "runtime handler",
        name=handler.name,
        recursive_read_only_mounts=spec.recursive_read_only_mounts,
        user_namespaces=spec.user_namespaces,
    )
    return replace(handler, spec=spec, snapshot_ids=ids)


def _snapshot_ids(snapshotter: str, remapping: frozenset[str]) -> SnapshotIds:
    if snapshotter in remapping:
        return SnapshotIds.MAPPED_BY_SNAPSHOTTER
    return SnapshotIds.MAPPED_HERE if snapshotter == LOCAL_OVERLAY else SnapshotIds.FIXED


async def _remapping_snapshotters(client: Client) -> frozenset[str]:
    try:
        plugins = await client.introspection.plugins(f"type=={SNAPSHOTTER}", timeout=SECONDS)
    except containerd_errors.ContainerdError as error:
        log.debug("containerd did not tell its snapshotters", error=str(error))
        return frozenset()
    return frozenset(plugin.id for plugin in plugins if REMAPPING in plugin.capabilities)


async def _features(handler: Handler, client: Client) -> RuntimeFeatures:
    """What the handler's runtime says; nothing where it says nothing."""
    try:
        document = await _of_shim(handler, client) or await _of_runc(handler)
        return parse_features(document) if document else RuntimeFeatures()
    except (TimeoutError, OSError, ValueError) as error:
        log.warning(
            "features of the runtime are not known and count as missing",
            handler=handler.name,
            error=str(error),
        )
        return RuntimeFeatures()


async def _of_shim(handler: Handler, client: Client) -> bytes | None:
    request = types_pb2.RuntimeRequest(runtime_path=handler.runtime_type, options=to_wire(handler.options))
    try:
        info = await client.introspection.plugin_info(RUNTIME, "task", typed(request), timeout=SECONDS)
    except containerd_errors.ContainerdError as error:
        log.debug("containerd did not tell the shim's features", handler=handler.name, error=str(error))
        return None
    if info.extra is None:
        return None
    return info.extra.decode(types_pb2.RuntimeInfo).features.value or None


def runtime_binary(handler: Handler) -> str | None:
    """The OCI runtime that runc's shim starts for a handler; None where another shim decides."""
    if handler.runtime_type != RUNC_TYPE or handler.options is None:
        return None
    return handler.options.decode(runc_pb2.Options).binary_name or "runc"


async def _of_runc(handler: Handler) -> bytes | None:
    binary = runtime_binary(handler)
    if binary is None:
        return None
    finished = await execute([binary, "features"], timeout_seconds=SECONDS)
    if finished.status != 0:
        # runc before 1.1 does not know the command, and has none of the features either.
        log.debug("runtime has no features command", binary=binary, status=finished.status)
        return None
    return finished.stdout
