"""RemoveImage: all names of one image, so that its content and snapshots go with containerd's next collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import errors as containerd
from cri.concurrency.together import all_of

if TYPE_CHECKING:
    from api.containerd import Client
    from cri.image.image import Image


async def remove_names(client: Client, image: Image) -> list[str]:
    """Delete every record of the image; returns the names. Those that are gone already count as deleted.

    The id's record goes last: until then an interrupted removal is an image that can be removed again. It is also
    the one that waits for the garbage collection, so that the disk is free when the kubelet looks.
    """
    others = [name for name in image.names if name != image.id]
    await all_of([_delete(client, name) for name in others[:-1]])
    last = [*others[-1:], *(name for name in image.names if name == image.id)]
    for name in last:
        await _delete(client, name, sync=name == last[-1])
    return list(image.names)


async def _delete(client: Client, name: str, *, sync: bool = False) -> None:
    try:
        await client.images.delete(name, sync=sync)
    except containerd.NotFound:
        return
