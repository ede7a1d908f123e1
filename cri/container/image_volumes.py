"""Volumes that are images: a read-only view of an image's snapshot, mounted once for all containers of a pod.

    label on the sandbox's record ──> view of the snapshot ──> mount below the sandbox's state

The label comes first: it keeps the view from containerd's garbage collector and lets it go together with the record,
whatever happens in between. The mounts end with the sandbox, and survive a restart of the server. Errors begin with the
prefix that the kubelet counts these failures by.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from api.wire import criv1
from cri.concurrency.threads import finished_in_thread
from cri.container.id_mapping import ids_of
from cri.container.unpacked import with_unpacked
from cri.errors import FailedPrecondition, InvalidArgument, NotFound
from cri.linux.files import open_beneath
from cri.linux.id_mapped_mounts import id_mapped
from cri.linux.mounts import is_mount_point, unmount
from cri.linux.snapshot_mounts import Mount, mount_snapshot
from cri.observe.stages import stage
from cri.oci.bind_mounts import IMAGE_VOLUME_FAILED
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.container.engine import Engine
    from cri.container.handlers import Handler
    from cri.image.image import Image
    from cri.image.store import ImageStore
    from cri.state.paths import NodePaths
    from cri.state.sandbox import Sandbox


def with_volume_images(config: criv1.ContainerConfig, images: ImageStore) -> criv1.ContainerConfig:
    """The configuration with the id of each volume's image in it, as the status tells it.

    Raises FailedPrecondition for an image that is not on the node.
    """
    if not any(mount.HasField("image") for mount in config.mounts):
        return config
    resolved = criv1.ContainerConfig()
    resolved.CopyFrom(config)
    for mount in resolved.mounts:
        if mount.HasField("image"):
            mount.image.image_ref = _image(mount, images).id
    return resolved


async def image_volumes(
    engine: Engine, sandbox: Sandbox, handler: Handler, config: criv1.ContainerConfig
) -> Mapping[str, str]:
    """The directory of each image volume that the container asks for, sub path applied, by its path in the container.

    Raises InvalidArgument for a sub path that the image does not have, FailedPrecondition for an image that is gone.
    """
    wanted = [mount for mount in config.mounts if mount.HasField("image")]
    if not wanted:
        return {}
    directories: dict[str, str] = {}
    async with sandbox.lock:  # not while the sandbox is being stopped: the mount would outlive it
        if not sandbox.ready or sandbox.removing:
            raise NotFound(f"{sandbox} is being removed")
        for mount in wanted:
            image = _image(mount, engine.images)
            with stage("image-volume"):
                root = await _mounted(engine, sandbox, handler, image)
            directories[mount.container_path] = await asyncio.to_thread(_below, root, mount)
    return directories


def unmount_image_volumes(paths: NodePaths, sandbox_id: str) -> None:
    """Unmount all image volumes of a sandbox. Blocking, idempotent."""
    for directory in _directories(paths, sandbox_id):
        unmount(directory)


async def remove_image_volumes(engine: Engine, sandbox: Sandbox) -> None:
    """Unmount them and remove their views. After a reboot no directory tells of them; then the garbage collector
    removes the views, since the record that named them is gone.
    """
    snapshots = engine.client.snapshots(sandbox.snapshotter)
    for directory in await asyncio.to_thread(_directories, engine.paths, sandbox.id):
        await finished_in_thread(unmount, directory)
        await ensure_deleted(snapshots.remove(_view_key(sandbox.id, directory.name)))


def _image(mount: criv1.Mount, images: ImageStore) -> Image:
    name = mount.image.image_ref or mount.image.image
    image = images.find(name) if name else None
    if image is None:
        raise FailedPrecondition(
            f"{IMAGE_VOLUME_FAILED}: image {name!r} of the volume at {mount.container_path} is not on this node; "
            "pull it first"
        )
    return image


async def _mounted(engine: Engine, sandbox: Sandbox, handler: Handler, image: Image) -> Path:
    """The root of the image's tree, mounted."""
    name = image.id.removeprefix("sha256:")
    directory = engine.paths.image_volumes(sandbox.id) / name
    if await asyncio.to_thread(is_mount_point, directory):
        return directory
    try:
        key = _view_key(sandbox.id, name)
        mounts = await with_unpacked(
            engine,
            image,
            handler.snapshotter,
            lambda chain_id: _view(engine, sandbox, handler, key, chain_id),
        )
        await finished_in_thread(_mount, engine.paths, sandbox, mounts, directory)
    except (OSError, containerd_errors.ContainerdError) as error:
        raise FailedPrecondition(
            f"{IMAGE_VOLUME_FAILED}: image {image.id} cannot be mounted for {sandbox}: {error}"
        ) from error
    return directory


async def _view(engine: Engine, sandbox: Sandbox, handler: Handler, key: str, chain_id: str) -> list[Mount]:
    label = f"containerd.io/gc.ref.snapshot.{handler.snapshotter}/{key.rpartition('-')[2]}"
    record = ContainerdContainer(id=sandbox.id, labels={label: key})
    await engine.client.containers.update(record, f"labels.{label}")
    snapshots = engine.client.snapshots(handler.snapshotter)
    try:
        mounts = await snapshots.view(key, chain_id)
    except containerd_errors.AlreadyExists:
        mounts = await snapshots.mounts(key)
    return [Mount(mount.type, mount.source, mount.options) for mount in mounts]


def _mount(paths: NodePaths, sandbox: Sandbox, mounts: list[Mount], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    ids = ids_of(sandbox.config)
    if ids is None:
        mount_snapshot(mounts, directory)
        return
    with id_mapped(
        mounts, paths.user_namespace(sandbox.id), ids, paths.id_mapped_layers(sandbox.id)
    ) as mapped:
        mount_snapshot(mapped, directory)


def _below(root: Path, mount: criv1.Mount) -> str:
    """The directory of the mount's sub path; links are followed inside of the image only."""
    sub_path = mount.image_sub_path
    if not sub_path:
        return str(root)
    where = f"{IMAGE_VOLUME_FAILED}: config.mounts.image_sub_path {sub_path!r} at {mount.container_path}"
    if sub_path.startswith("/") or ".." in sub_path.split("/") or "\0" in sub_path:
        raise InvalidArgument(f"{where}: must be a relative path without '..'")
    try:
        descriptor = open_beneath(root, sub_path)
    except OSError as error:
        raise InvalidArgument(f"{where}: the image has no such directory ({error.strerror})") from error
    try:
        resolved = Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)
    if not resolved.is_dir():
        raise InvalidArgument(f"{where}: must be a directory of the image; single files cannot be mounted")
    return str(resolved)


def _view_key(sandbox_id: str, name: str) -> str:
    return f"cri-shim-volume-{sandbox_id}-{name}"


def _directories(paths: NodePaths, sandbox_id: str) -> list[Path]:
    try:
        return list(paths.image_volumes(sandbox_id).iterdir())
    except FileNotFoundError:
        return []
