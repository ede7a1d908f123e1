"""Blobs into containerd's content store, each digest once however many pulls want it at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.image.download import Download, Fetched, Wanted
from cri.image.joining import Joined

if TYPE_CHECKING:
    from cri.concurrency.supervision import Supervisor
    from cri.image.lease import PullLease
    from cri.image.registry import Repository


class Fetcher:
    """Fetches blobs; one for the whole server."""

    def __init__(
        self, supervisor: Supervisor, lease: PullLease, *, node_downloads: int, progress_timeout: float
    ) -> None:
        """`node_downloads` bounds the blobs under way; one without a byte for `progress_timeout` s fails (0: never)."""
        self._joined: Joined[Fetched] = Joined(supervisor, "fetch")
        self._lease = lease
        self.reconfigure(node_downloads=node_downloads, progress_timeout=progress_timeout)

    def reconfigure(self, *, node_downloads: int, progress_timeout: float) -> None:
        """Other limits for blobs that are asked for from now on."""
        self._slots = asyncio.Semaphore(node_downloads)
        self._progress_timeout = progress_timeout

    async def fetch(self, repository: Repository, wanted: Wanted) -> Fetched:
        """Have the blob in the content store.

        The caller holds the pull lease. Raises what `all_failed` makes of the hosts' failures,
        DeadlineExceeded, ResourceExhausted (containerd's disk is full), ContainerdError.
        """

        async def work() -> Fetched:
            # Both must outlive the caller who came first, if another has joined it.
            async with self._lease.hold() as client, repository:
                return await Download(repository, wanted, self._progress_timeout).run(client, self._slots)

        digest = wanted.descriptor.digest
        return await self._joined.run(digest, digest, work)
