"""RemoveImage: all names of an image, so that its content and snapshots go with containerd's next collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import errors as containerd
from cri.concurrency.together import all_of
from cri.image.reference import is_digest

if TYPE_CHECKING:
    from collections.abc import Collection

    from api.containerd import Client


async def remove_names(client: Client, names: Collection[str]) -> None:
    """Delete all of these records. Those that are gone already count as deleted.

    Records of ids go last: until then an interrupted removal is an image that can be removed again. The last of all
    waits for the garbage collection, so that the disk is free when the kubelet looks.
    """
    *others, last = sorted(names, key=is_digest)
    first = [name for name in others if not is_digest(name)]
    await all_of([_delete(client, name) for name in first])
    await all_of([_delete(client, name) for name in others if is_digest(name)])
    await _delete(client, last, sync=True)


async def _delete(client: Client, name: str, *, sync: bool = False) -> None:
    try:
        await client.images.delete(name, sync=sync)
    except containerd.NotFound:
        return
