"""A look into an unpacked image: a read-only view of its snapshot, mounted where only the looking thread sees it.

The view is held by a lease, so that a crash in the middle leaves nothing that the garbage collector would keep.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeVar

from cri.linux.snapshot_mounts import Mount, with_mounted
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from api.containerd import Client

T = TypeVar("T")

LEASE_SECONDS = 300.0
PURPOSE_LABEL = "cri-shim.io/purpose"
PURPOSE = "view"
SERVER_LABEL = "cri-shim.io/server"
SERVER = secrets.token_hex(8)
"""This process: a view that another one made was left by a server that died."""


async def look_into(client: Client, snapshotter: str, chain_id: str, look: Callable[[Path], T]) -> T:
    """Run `look(root)` in a thread that sees the image's files below `root`.

    Raises NotFound (containerd's) if the image is not unpacked, OSError if its snapshot cannot be mounted.
    """
    key = f"cri-shim-view-{secrets.token_hex(8)}"
    labels = {PURPOSE_LABEL: PURPOSE, SERVER_LABEL: SERVER}
    async with client.leases.hold(labels=labels, expires_in=LEASE_SECONDS) as leased:
        snapshots = leased.snapshots(snapshotter)
        mounts = await snapshots.view(key, chain_id)
        try:
            described = [Mount(mount.type, mount.source, mount.options) for mount in mounts]
            return await with_mounted(described, look)
        finally:
            await ensure_deleted(snapshots.remove(key))
