"""The /etc/passwd and /etc/group of images, read once per image through a snapshot.

Names of users and supplementary groups are the image's. Layers never change, so what was read for a chain ID holds for
every container of it; containerd's own CRI mounts the snapshot anew for each container.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.container.image_view import look_into
from cri.linux.files import read_beneath

if TYPE_CHECKING:
    from pathlib import Path

    from api.containerd import Client

MOST_IMAGES = 256
MOST_BYTES = 4 << 20
"""A passwd file larger than this is not one that a container engine wants to read."""


@dataclass(frozen=True, slots=True)
class AccountFiles:
    """Contents of the two files, None where the image has none."""

    passwd: bytes | None = None
    group: bytes | None = None


class Accounts:
    """Account files by snapshotter and chain ID, the least recently used dropped first."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._files: OrderedDict[tuple[str, str], AccountFiles] = OrderedDict()
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def read(self, snapshotter: str, chain_id: str) -> AccountFiles:
        """The account files of an unpacked image. Raises OSError, ContainerdError if its snapshot cannot be read."""
        key = (snapshotter, chain_id)
        if key not in self._files:
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._files:
                    self._files[key] = await self._read(snapshotter, chain_id)
                    self._locks.pop(key, None)
        self._files.move_to_end(key)
        while len(self._files) > MOST_IMAGES:
            self._files.popitem(last=False)
        return self._files[key]

    async def _read(self, snapshotter: str, chain_id: str) -> AccountFiles:
        return await look_into(self._client, snapshotter, chain_id, _read_files)


def _read_files(root: Path) -> AccountFiles:
    return AccountFiles(_read(root, "etc/passwd"), _read(root, "etc/group"))


def _read(root: Path, relative: str) -> bytes | None:
    try:
        return read_beneath(root, relative, limit=MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
