"""How much disk and how many inodes images and containers take (ImageFsInfo), measured in the background.

The sum of all snapshots and all blobs, which is what a `df` of a disk of their own shows. A committed snapshot never
changes, so the daemon is asked once for each; writable ones are measured anew. The kubelet asks every ten seconds and
decides about evictions by the answer, so it gets the last one at once while the next is being made.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import SnapshotKind
from api.containerd import errors as containerd
from cri.image.joining import Joined

if TYPE_CHECKING:
    from api.containerd import Client, Usage
    from cri.concurrency.supervision import Supervisor

log = structlog.get_logger(__name__)

STALEST_PERIODS: Final = 6
"""Collection periods after which the last answer is too old to be given without waiting for a new one."""
_AT_ONCE = 4
_BLOCK = 4096
_OVERHEAD_INODES = 2
"""A snapshot's own directory and its work directory, which the snapshotter does not count."""


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    """One answer of ImageFsInfo: when it was measured (Unix nanoseconds), where, and how much is used."""

    timestamp: int
    mountpoint: str
    used_bytes: int
    inodes_used: int


class Filesystem:
    """Measures the file system of one snapshotter and the content store beside it."""

    def __init__(self, client: Client, supervisor: Supervisor, snapshotter: str, period: float) -> None:
        """`period` is the age in seconds up to which an answer counts as new."""
        self._client = client
        self._supervisor = supervisor
        self._snapshotter = snapshotter
        self._period = period
        self._joined: Joined[FilesystemUsage] = Joined(supervisor, "measure")
        self._committed: dict[str, Usage] = {}
        self._last: FilesystemUsage | None = None
        self._root = ""

    async def usage(self) -> FilesystemUsage:
        """The last measurement if it is not too old, else a new one. Raises ContainerdError."""
        if self._last is not None:
            age = (time.time_ns() - self._last.timestamp) / 1e9
            if 0 <= age < self._period:
                return self._last
            if 0 <= age < self._period * STALEST_PERIODS:
                if "usage" not in self._joined:
                    self._supervisor.start("refresh image file system usage", self._refresh())
                return self._last
        return await self._measure()

    async def root(self) -> str:
        """The snapshotter's directory, which says on which disk images are. Raises ContainerdError."""
        if not self._root:
            plugins = await self._client.introspection.plugins(
                f"type==io.containerd.snapshotter.v1,id=={self._snapshotter}"
            )
            roots = [plugin.exports.get("root", "") for plugin in plugins]
            self._root = next(filter(None, roots), f"{_DEFAULT_ROOT}.{self._snapshotter}")
        return self._root

    async def _refresh(self) -> None:
        try:
            await self._measure()
        except containerd.ContainerdError as error:
            log.warning("image file system could not be measured", reason=str(error))

    async def _measure(self) -> FilesystemUsage:
        return await self._joined.run("usage", "image file system", self._sum)

    async def _sum(self) -> FilesystemUsage:
        moment = time.time_ns()
        snapshots = self._client.snapshots(self._snapshotter)
        infos = await snapshots.list()
        committed = {info.name for info in infos if info.kind is SnapshotKind.COMMITTED}
        self._committed = {name: usage for name, usage in self._committed.items() if name in committed}
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> tuple[int, int]:
            usage = self._committed.get(name)
            if usage is None:
                async with turn:
                    try:
                        usage = await snapshots.usage(name)
                    except containerd.NotFound:
                        return 0, 0
                if name in committed:
                    self._committed[name] = usage
            return usage.size, usage.inodes

        # A view is its parent once more and takes nothing itself.
        measured = [info.name for info in infos if info.kind is not SnapshotKind.VIEW]
        parts = await asyncio.gather(*(one(name) for name in measured))
        blobs = await self._client.content.list()
        used = sum(size for size, _ in parts) + sum(-(-blob.size // _BLOCK) * _BLOCK for blob in blobs)
        inodes = sum(count + _OVERHEAD_INODES for _, count in parts) + len(blobs)
        self._last = FilesystemUsage(moment, await self.root(), used, inodes)
        return self._last


_DEFAULT_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1"
