"""Layers into snapshots: one on top of the other, each as soon as its blob and its parent are there.

A committed snapshot is named by its chain ID, so that images with equal layers share them and finding the name
means that the work is done. Each chain ID is unpacked once at a time, whoever wants it. The daemon decompresses
and applies; its answer is the digest of the uncompressed layer, which must be the diff ID that the config promises.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from api.containerd import ContentInfo
from api.containerd import errors as containerd
from cri.concurrency.together import all_of
from cri.concurrency.undo import UndoStack
from cri.errors import FailedPrecondition, ResourceExhausted
from cri.image.joining import Joined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from api.containerd import Client, Descriptor
    from cri.concurrency.supervision import Supervisor
    from cri.image.documents import Walk
    from cri.image.lease import PullLease
    from cri.image.reference import Reference

SNAPSHOT_REF_LABEL: Final = "containerd.io/snapshot.ref"
UNCOMPRESSED_LABEL: Final = "containerd.io/uncompressed"
_HINT = "containerd.io/snapshot/cri."
_LARGEST_LABEL = 4096
"""Bytes of a label's key and value together that containerd takes."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image: its blob, what it must become, and the snapshot that it makes."""

    blob: Descriptor
    diff_id: str
    chain_id: str
    parent: str
    """Chain ID below, "" for the bottom layer."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Labels for remote snapshotters."""


class Unpacker:
    """Unpacks layers; one for the whole server."""

    def __init__(self, client: Client, supervisor: Supervisor, lease: PullLease) -> None:
        self._client = client
        self._joined: Joined[None] = Joined(supervisor, "unpack")
        self._lease = lease

    async def present(self, snapshotter: str, chain: Sequence[str]) -> int:
        """How many of the layers with these chain IDs, from the bottom, the snapshotter has, as far as is known now."""
        found = await all_of([self._there(snapshotter, chain_id) for chain_id in chain])
        return next((above for above in range(len(chain), 0, -1) if found[above - 1]), 0)

    async def _there(self, snapshotter: str, chain_id: str) -> bool:
        try:
            await self._client.snapshots(snapshotter).stat(chain_id)
        except containerd.NotFound:
            return False
        return True

    async def unpack(
        self, snapshotter: str, layer: Layer, blob: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Have the layer's snapshot. Its parent is there, and its blob in the store once `blob()` has returned.

        The caller holds the pull lease. `blob` is only called when it turns out that the snapshotter does not
        have the layer. Raises FailedPrecondition (the layer is broken, or not what the config says),
        ResourceExhausted (disk full), ContainerdError, and what `blob` raises.
        """

        async def work() -> None:
            async with self._lease.hold() as leased:
                await self._unpack(leased, snapshotter, layer, blob)

        await self._joined.run((snapshotter, layer.chain_id), f"{snapshotter} {layer.chain_id}", work)

    async def _unpack(
        self,
        client: Client,
        snapshotter: str,
        layer: Layer,
        blob: Callable[[], Awaitable[None]] | None,
    ) -> None:
        snapshots = client.snapshots(snapshotter)
        key = f"extract-{time.time_ns()}-{secrets.token_urlsafe(3)} {layer.chain_id}"
        labels = {SNAPSHOT_REF_LABEL: layer.chain_id, **layer.hints}

        async def remove() -> None:
            with contextlib.suppress(containerd.NotFound):
                await snapshots.remove(key)

        async with UndoStack(f"unpack {layer.chain_id}") as undo:
            undo.push("remove snapshot", remove)
            try:
                mounts = await snapshots.prepare(key, layer.parent, labels)
            except containerd.AlreadyExists:
                # The label's meaning: this chain ID is there already (or a remote snapshotter has it).
                undo.forget()
                return
            if blob is not None:
                await blob()
            try:
                applied = await client.diff.apply(layer.blob, mounts)
            except containerd.ContainerdError as error:
                raise _explained(layer, error) from error
            if applied.digest != layer.diff_id:
                await _unlabel(client, layer)
                raise FailedPrecondition(
                    f"layer {layer.blob.digest} unpacks to {applied.digest}, the image's config says {layer.diff_id}"
                )
            # Another client may have been faster: then its snapshot stays and ours goes.
            try:
                await snapshots.commit(layer.chain_id, key)
                undo.forget()
            except containerd.AlreadyExists:
                await remove()


def snapshot_label(snapshotter: str) -> str:
    """The label by which a config blob keeps its image's top snapshot from the garbage collector."""
    return f"containerd.io/gc.ref.snapshot.{snapshotter}"


def snapshot_hints(reference: Reference, walk: Walk, number: int) -> dict[str, str]:
    """The labels by which a remote snapshotter finds a layer in its registry by itself."""
    layers = [layer.digest for layer in walk.manifest.layers[number:]]
    key = f"{_HINT}image-layers"
    while len(key) + len(",".join(layers)) > _LARGEST_LABEL:
        layers.pop()
    return {
        f"{_HINT}image-ref": str(reference),
        f"{_HINT}manifest-digest": walk.manifest_digest,
        f"{_HINT}layer-digest": layers[0],
        key: ",".join(layers),
    }


async def note_diff_id(client: Client, layer: Layer) -> None:
    """Label the blob with its diff ID, as other clients expect; only a hint, so failure does not matter."""
    await _label(client, layer.blob.digest, layer.diff_id)


async def _unlabel(client: Client, layer: Layer) -> None:
    """Take back a diff ID that turned out to be wrong."""
    await _label(client, layer.blob.digest, "")


async def _label(client: Client, digest: str, diff_id: str) -> None:
    info = ContentInfo(digest, labels={UNCOMPRESSED_LABEL: diff_id})
    with contextlib.suppress(containerd.ContainerdError):
        await client.content.update(info, f"labels.{UNCOMPRESSED_LABEL}")


def _explained(layer: Layer, error: containerd.ContainerdError) -> Exception:
    if "no space left" in error.details:
        return ResourceExhausted(
            f"layer {layer.blob.digest} cannot be unpacked: the snapshotter's disk is full; "
            "free space on it, or have the kubelet collect images"
        )
    if isinstance(error, (containerd.Unavailable, containerd.NotFound, containerd.DeadlineExceeded)):
        return error
    return FailedPrecondition(f"layer {layer.blob.digest} cannot be unpacked: {error.details}")
