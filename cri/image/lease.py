"""One lease for all pulls that overlap in time.

Pulls share blobs and layers that are under way, so what one of them has fetched must not be collected because
another, which began the fetch, has given up. One lease for as long as any pull runs makes that certain, and costs
two calls for a burst of pulls instead of two for each. It goes with the last pull; a lease that a killed server
left behind is deleted at the next start.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from api.containerd.errors import NotFound
from cri.concurrency.supervision import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from api.containerd import Client

PURPOSE_LABEL: Final = "cri-shim.io/purpose"
PURPOSE: Final = "pull"
EXPIRY_SECONDS: Final = 30 * 24 * 3600.0
"""Only for the case that no server ever starts again: pulls may overlap without a gap for days."""
BEGINNING_SECONDS: Final = 60.0
LEAVING_SECONDS: Final = 30.0


class PullLease:
    """Holds the lease while anybody is inside of `hold`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turn = asyncio.Lock()
        self._holders = 0
        self._held: AbstractAsyncContextManager[Client] | None = None
        self._leased = client
        self._id = ""

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Client]:
        """A client whose calls keep what they make from the garbage collector until the last holder leaves."""
        self._holders += 1
        try:
            # A lease that was asked for may be there, whoever has lost interest meanwhile: only its end tells.
            await shielded(self._begin(), "begin pull lease", BEGINNING_SECONDS)
            yield self._leased
        finally:
            await shielded(self._leave(), "leave pull lease", LEAVING_SECONDS)

    async def sweep(self) -> None:
        """Delete the leases of servers that were killed in the middle of a pull; our own stays."""
        async with self._turn:
            for lease in await self._client.leases.list(f'labels."{PURPOSE_LABEL}"=={PURPOSE}'):
                if self._held is not None and lease.id == self._id:
                    continue
                with suppress(NotFound):
                    await self._client.leases.delete(lease.id)

    async def _begin(self) -> None:
        async with self._turn:
            if self._held is None:
                self._id = f"cri-shim-pull-{secrets.token_hex(8)}"
                held = self._client.leases.hold(
                    id=self._id,
                    labels={PURPOSE_LABEL: PURPOSE},
                    expires_in=EXPIRY_SECONDS,
                )
                self._leased = await held.__aenter__()
                self._held = held

    async def _leave(self) -> None:
        async with self._turn:
            self._holders -= 1
            if not self._holders and self._held is not None:
                held, self._held = self._held, None
                await held.__aexit__(None, None, None)
