"""Images that are in the content store but not (or no longer) unpacked in a snapshotter: unpacked on first use.

They come from other clients' imports and pulls, or were pulled for another runtime handler's snapshotter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import ContentInfo, Descriptor
from api.containerd import errors as containerd
from cri.errors import FailedPrecondition
from cri.image.chain import chain_ids
from cri.image.documents import walk
from cri.image.stored import StoredDocuments
from cri.image.unpack import Layer, note_diff_id, snapshot_label

if TYPE_CHECKING:
    from api.containerd import Client
    from cri.image.image import Image
    from cri.image.lease import PullLease
    from cri.image.platform import Platform
    from cri.image.unpack import Unpacker


class LocalUnpacker:
    """Unpacks from the content store alone."""

    def __init__(self, client: Client, platform: Platform, lease: PullLease, unpacker: Unpacker) -> None:
        self._client = client
        self._platform = platform
        self._lease = lease
        self._unpacker = unpacker

    async def unpack(self, image: Image, snapshotter: str) -> None:
        """Have the image's snapshots. One call of the daemon when they are there.

        Raises FailedPrecondition when a layer's blob is missing or broken, ContainerdError.
        """
        if not image.chain_id or await self._there(snapshotter, image.chain_id):
            return
        name = image.names[0]
        async with self._lease.hold() as client:
            # Which manifest of an index it was has been decided when the image was read or pulled.
            manifest = Descriptor("", image.manifest_digest, 0) if image.manifest_digest else image.target
            found = await walk(StoredDocuments(client), manifest, self._platform, name)
            chain = chain_ids(image.config.diff_ids)
            # Before the snapshots are there: with this the image holds each of them as soon as it is.
            label = snapshot_label(snapshotter)
            info = ContentInfo(image.id, labels={label: image.chain_id})
            await client.content.update(info, f"labels.{label}")
            for number, chain_id in enumerate(chain):
                layer = Layer(
                    blob=found.manifest.layers[number].target,
                    diff_id=image.config.diff_ids[number],
                    chain_id=chain_id,
                    parent=chain[number - 1] if number else "",
                )
                try:
                    await self._unpacker.unpack(snapshotter, layer)
                except containerd.NotFound as error:
                    raise FailedPrecondition(
                        f"image {name}: layer {layer.blob.digest} is not in containerd's content store; pull it again"
                    ) from error
                await note_diff_id(client, layer)

    async def _there(self, snapshotter: str, chain_id: str) -> bool:
        try:
            await self._client.snapshots(snapshotter).stat(chain_id)
        except containerd.NotFound:
            return False
        return True
