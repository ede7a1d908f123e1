"""Anonymous volumes: a directory of the container's own for each VOLUME of its image, with the image's contents."""

from __future__ import annotations

import os
import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cri.concurrency.threads import finished_in_thread
from cri.container.image_view import look_into
from cri.container.plan import image_defaults
from cri.container.unpacked import with_unpacked
from cri.linux.copy_tree import copy_tree
from cri.linux.files import open_beneath
from cri.oci.mounts import AnonymousVolume, anonymous_volume_paths

if TYPE_CHECKING:
    from cri.concurrency.undo import UndoStack
    from cri.container.engine import Engine
    from cri.container.plan import ContainerPlan


async def anonymous_volumes(
    engine: Engine, plan: ContainerPlan, undo: UndoStack
) -> tuple[AnonymousVolume, ...]:
    """Make the directories that the image asks for and the request does not provide; removal is pushed on `undo`."""
    destinations = anonymous_volume_paths(image_defaults(plan.image), plan.record.config.mounts, engine.oci)
    if not destinations:
        return ()
    base = engine.paths.container_files(plan.record.id)
    undo.push("remove volumes", lambda: finished_in_thread(partial(shutil.rmtree, base, ignore_errors=True)))
    volumes = tuple(
        AnonymousVolume(destination, str(base / "volumes" / secrets.token_hex(16)))
        for destination in destinations
    )
    for volume in volumes:
        await finished_in_thread(partial(os.makedirs, volume.source, mode=0o755))
    fill = partial(_fill, volumes)
    snapshotter = plan.handler.snapshotter
    await with_unpacked(
        engine,
        plan.image,
        snapshotter,
        lambda chain_id: look_into(engine.client, snapshotter, chain_id, fill),
    )
    return volumes


def _fill(volumes: tuple[AnonymousVolume, ...], root: Path) -> None:
    for volume in volumes:
        try:
            descriptor = open_beneath(root, volume.destination.lstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            continue  # the image declares the volume but has nothing there
        try:
            source = Path(f"/proc/self/fd/{descriptor}")
            if source.is_dir():
                copy_tree(source, Path(volume.source))
        finally:
            os.close(descriptor)
