"""Makes, replaces and removes the container in which containerd keeps the server running."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from api.containerd import Container, TypedValue
from api.containerd import errors as containerd
from api.containerd.typed_value import SPEC_TYPE_URL
from cri.errors import NotFound
from cri.image.chain import chain_ids
from cri.image.documents import walk
from cri.image.platform import host_platform
from cri.image.stored import StoredDocuments

if TYPE_CHECKING:
    from api.containerd import Client
    from cri.oci.spec import Spec

CONTAINER: Final = "cri-shim"
NAMESPACE: Final = "cri-shim"
RUNTIME: Final = "io.containerd.runc.v2"
STATUS_LABEL: Final = "containerd.io/restart.status"
LOG_LABEL: Final = "containerd.io/restart.loguri"
STOP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The container that there is to be."""

    image: str
    """Full name of an image that is there, unpacked, in the client's namespace."""
    spec: Spec
    log_file: str
    """What the server writes; containerd's shim appends to it."""
    snapshotter: str = "overlayfs"


async def install(client: Client, wanted: Wanted) -> None:
    """Have exactly this container run, in the place of an earlier one.

    Raises NotFound with the remedy if the image is not there or not unpacked, ContainerdError.
    """
    parent = await _top_snapshot(client, wanted)
    await remove(client)
    log = f"file://{wanted.log_file}"
    container = Container(
        id=CONTAINER,
        image=wanted.image,
        runtime=RUNTIME,
        spec=TypedValue.json(SPEC_TYPE_URL, wanted.spec),
        snapshotter=wanted.snapshotter,
        snapshot_key=CONTAINER,
    )
    async with client.leases.hold() as held:
        mounts = await held.snapshots(wanted.snapshotter).prepare(CONTAINER, parent)
        await held.containers.create(container)
    await client.tasks.create(CONTAINER, mounts=mounts, stdout=log, stderr=log)
    await client.tasks.start(CONTAINER)
    # Last, because the monitor would start the container beside us.
    kept = replace(container, labels={STATUS_LABEL: "running", LOG_LABEL: log})
    await client.containers.update(kept, *(f"labels.{name}" for name in kept.labels))


async def remove(client: Client) -> bool:
    """End the server and remove its container; pods run on. False if there was none."""
    try:
        container = await client.containers.get(CONTAINER)
    except containerd.NotFound:
        return False
    # The monitor keeps running what has the label.
    unkept = replace(container, labels={STATUS_LABEL: ""})
    await client.containers.update(unkept, f"labels.{STATUS_LABEL}")
    with contextlib.suppress(containerd.NotFound):
        await _end_task(client)
    await client.containers.delete(CONTAINER)
    with contextlib.suppress(containerd.NotFound):
        await client.snapshots(container.snapshotter).remove(container.snapshot_key)
    return True


async def _end_task(client: Client) -> None:
    """Ask it to end, then end it. Raises NotFound of api.containerd if there is no task."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(containerd.NotFound):  # it has ended
            await client.tasks.kill(CONTAINER, request)
        with contextlib.suppress(containerd.DeadlineExceeded):
            await client.tasks.wait(CONTAINER, timeout=STOP_SECONDS)
            break
    await client.tasks.delete(CONTAINER)


async def _top_snapshot(client: Client, wanted: Wanted) -> str:
    namespace, name = client.namespace, wanted.image
    remedy = f"`ctr --namespace {namespace} images import FILE` or `ctr --namespace {namespace} images pull {name}`"
    try:
        image = await client.images.get(name)
        source = StoredDocuments(client)
        found = await walk(source, image.target, host_platform(), name)
        config = await source.config(found.manifest.config, name)
        top = chain_ids(config.diff_ids)[-1]
        await client.snapshots(wanted.snapshotter).stat(top)
    except containerd.NotFound as missing:
        raise NotFound(
            f"image {name} is not there or not unpacked in containerd's namespace {namespace}: {remedy}"
        ) from missing
    return top
