"""Pods with a user namespace of their own: how their root file systems, volumes and streams get its ids.

A snapshotter that maps ids is told so by labels when the snapshot is made. Where it does not (containerd before 1.7),
the layers of an overlay are mounted id-mapped here while the shim mounts the root file system.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from api.containerd import Mount as ContainerdMount
from api.containerd import TypedValue, typed
from api.wire.containerd import runc_pb2
from cri.concurrency.threads import finished_in_thread
from cri.container.handlers import SnapshotIds
from cri.errors import FailedPrecondition
from cri.linux.id_mapped_mounts import id_mapped, release
from cri.linux.snapshot_mounts import Mount
from cri.linux.user_namespaces import IdRange
from cri.oci.namespaces import user_mappings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from api.wire import criv1
    from cri.container.handlers import Handler
    from cri.state.paths import NodePaths
    from cri.state.sandbox import Sandbox

UID_LABEL = "containerd.io/snapshot/uidmapping"
GID_LABEL = "containerd.io/snapshot/gidmapping"


def ids_of(config: criv1.PodSandboxConfig) -> IdRange | None:
    """The ids of the pod's user namespace, None for a pod in the host's. Raises InvalidArgument for others than one."""
    mappings = user_mappings(config.linux.security_context.namespace_options)
    return None if mappings is None else IdRange(mappings.host_uid, mappings.host_gid, mappings.size)


def snapshot_labels(handler: Handler, config: criv1.PodSandboxConfig) -> Mapping[str, str]:
    """Labels that make the snapshotter shift owners in a new snapshot, where it can."""
    ids = ids_of(config)
    if ids is None or handler.snapshot_ids is not SnapshotIds.MAPPED_BY_SNAPSHOTTER:
        return {}
    return {UID_LABEL: f"0:{ids.host_uid}:{ids.size}", GID_LABEL: f"0:{ids.host_gid}:{ids.size}"}


def task_options(handler: Handler, config: criv1.PodSandboxConfig) -> TypedValue | None:
    """The handler's options; the pod's root owns its containers' output pipes, so that /dev/stdout can be reopened."""
    ids = ids_of(config)
    if (
        ids is None
        or handler.options is None
        or handler.options.name != runc_pb2.Options.DESCRIPTOR.full_name
    ):
        return handler.options
    options = handler.options.decode(runc_pb2.Options)
    options.io_uid, options.io_gid = ids.host_uid, ids.host_gid
    return typed(options)


@contextlib.asynccontextmanager
async def root_mounts(
    paths: NodePaths, sandbox: Sandbox, handler: Handler, identifier: str, mounts: Sequence[ContainerdMount]
) -> AsyncIterator[Sequence[ContainerdMount]]:
    """The mounts of a root file system as Tasks.Create shall get them; they can be made within the block.

    Raises FailedPrecondition where the file system of the snapshots cannot map ids.
    """
    ids = ids_of(sandbox.config)
    if ids is None or handler.snapshot_ids is not SnapshotIds.MAPPED_HERE:
        yield mounts
        return
    described = [Mount(mount.type, mount.source, mount.options) for mount in mounts]
    mapped = id_mapped(described, paths.user_namespace(sandbox.id), ids, paths.id_mapped_layers(identifier))
    try:
        shifted = await finished_in_thread(mapped.__enter__)
    except OSError as error:
        raise FailedPrecondition(f"the root file system of {sandbox} cannot have its ids: {error}") from error
    try:
        yield [ContainerdMount(mount.type, mount.source, options=tuple(mount.options)) for mount in shifted]
    finally:
        await finished_in_thread(mapped.__exit__, None, None, None)


def release_layers(paths: NodePaths) -> None:
    """Unmount what a server that was killed in the middle of a start has left. Blocking."""
    with contextlib.suppress(FileNotFoundError):
        for directory in Path(paths.state, "layers").iterdir():
            release(directory)
