"""PullImage: resolve, then fetch and unpack side by side, then record.

                  +- documents stored -----------------------------------+
    resolve       +- config --- there already? --- unpack 0, 1, 2, ... --+--- records
    and verify ---+- layers fetched, max_concurrent_downloads at a time -+

From the first write on everything is held by the pull lease, until the records name it. A failure or cancellation at
any point leaves no record, and what was fetched goes with the lease. Pulls of one reference with the same
credentials are one pull. Layers are asked for before the config has arrived, which saves a round trip, unless the
snapshotter may turn out to need none of them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from cri.concurrency.supervision import shielded
from cri.concurrency.together import all_of, first_cause
from cri.errors import CriError
from cri.image import records
from cri.image.assembly import Assembly, Plan
from cri.image.authorization import Authorizer
from cri.image.endpoints import endpoints_for
from cri.image.registry import Repository
from cri.image.resolve import Resolved, resolve
from cri.image.tally import PullReport, Tally
from cri.image.transport import Transport
from cri.image.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from api.containerd import Client
    from cri.image.endpoint import Endpoint
    from cri.image.fetch import Fetcher
    from cri.image.index import Index
    from cri.image.lease import PullLease
    from cri.image.names import Facts
    from cri.image.order import Order
    from cri.image.settings import ImageSettings, RegistrySettings
    from cri.image.transfer import TransferService
    from cri.image.unpack import Unpacker

log = structlog.get_logger(__name__)

LONGEST_STALL_SECONDS = 60.0
"""Without a byte for so long, a connection is given up and the download resumed on another."""

RECORD_SECONDS = 60.0


class Puller:
    """Carries out pulls; one for the whole server."""

    def __init__(
        self,
        client: Client,
        *,
        settings: ImageSettings,
        registry: RegistrySettings,
        transfer: TransferService,
        index: Index,
        lease: PullLease,
        fetcher: Fetcher,
        unpacker: Unpacker,
        pinned: Sequence[str],
    ) -> None:
        self._client = client
        self._pinned = tuple(pinned)
        self._settings = settings
        self._registry = registry
        self._index = index
        self._lease = lease
        self._fetcher = fetcher
        self._unpacker = unpacker
        self._transfer = transfer
        self._verifier = Verifier(
            settings.verifier_bin_dir, timeout=settings.verifier_timeout, most=settings.verifier_max
        )

    async def pull(self, order: Order) -> PullReport:
        """Do it. Raises CriError (whose message names the image), ContainerdError; then nothing is left behind."""
        try:
            return await self._pull(order)
        except CriError as error:
            if str(order.reference) in error.message:
                raise
            raise type(error)(f"{order.reference}: {error.message}") from error

    async def _pull(self, order: Order) -> PullReport:
        tally = Tally()
        endpoints = await asyncio.to_thread(endpoints_for, order.reference.domain, self._registry)
        timeout = self._settings.image_pull_progress_timeout
        stall = min(timeout, LONGEST_STALL_SECONDS) or LONGEST_STALL_SECONDS
        async with Transport(stall) as transport:
            authorizer = Authorizer(transport, order.keyring)
            repository = Repository(transport, authorizer, endpoints, order.reference)
            with tally.part("resolve"):
                probable = self._index.named(str(order.reference), order.platform) is not None
                resolved = await resolve(
                    self._client, repository, order.reference, order.platform, probable=probable
                )
            with tally.part("verify"):
                await self._verifier.verify(str(order.reference), resolved.walk.target)
            async with self._lease.hold() as client, self._ahead(client, order, resolved, endpoints, tally):
                facts = await self._assembled(client, repository, order, resolved, tally)
                with tally.part("record"):
                    # A part of the names would be an image that lacks its tag or cannot be found by its id.
                    work = self._record(client, order, resolved, facts)
                    await shielded(work, f"record {order.reference}", RECORD_SECONDS)
        return self._report(order, resolved, facts, tally)

    @asynccontextmanager
    async def _ahead(
        self, client: Client, order: Order, resolved: Resolved, endpoints: Sequence[Endpoint], tally: Tally
    ) -> AsyncIterator[None]:
        """Around the assembly: containerd's transfer service goes ahead where it can and something is missing."""
        config = resolved.walk.manifest.config.digest
        if self._index.contains(config) or not self._transfer.handed_over(order, resolved, endpoints):
            yield
            return
        async with self._transfer.ahead(client, order, resolved, tally):
            yield

    async def _assembled(
        self, client: Client, repository: Repository, order: Order, resolved: Resolved, tally: Tally
    ) -> Facts:
        """Have content and snapshots; `client` is leased."""
        assembly = Assembly(
            Plan(order.reference, resolved.walk, order.snapshotter),
            self._settings,
            client=client,
            repository=repository,
            fetcher=self._fetcher,
            unpacker=self._unpacker,
            tally=tally,
        )
        try:
            return await assembly.run()
        except BaseExceptionGroup as failures:
            raise first_cause(failures) from None

    async def _record(self, client: Client, order: Order, resolved: Resolved, facts: Facts) -> None:
        target = resolved.walk.target
        names = [facts.id, order.reference.tagged_name, order.reference.digested_name(target.digest)]
        labels = records.labels_for(pinned=records.is_pinned(names, self._pinned))
        written = await all_of([records.write(client, name, target, labels) for name in names if name])
        for record in written:
            self._index.put(record, order.platform, facts)

    def _report(self, order: Order, resolved: Resolved, facts: Facts, tally: Tally) -> PullReport:
        report = PullReport(
            reference=str(order.reference),
            image_id=facts.id,
            digest=resolved.walk.target.digest,
            host=resolved.host,
            layers=len(facts.config.diff_ids),
            reused_layers=max(0, len(facts.config.diff_ids) - tally.fetched_layers),
            size=facts.size,
            fetched_bytes=tally.fetched_bytes,
            engine=tally.engine,
            resolve_seconds=tally.seconds("resolve"),
            fetch_seconds=tally.seconds("fetch"),
            unpack_seconds=tally.seconds("unpack"),
            seconds=tally.elapsed,
        )
        log.info(
            "image pulled",
            image=report.reference,
            id=report.image_id,
            host=report.host,
            layers=report.layers,
            reused_layers=report.reused_layers,
            size=report.size,
            fetched_bytes=report.fetched_bytes,
            engine=report.engine,
            resolve_seconds=round(report.resolve_seconds, 3),
            fetch_seconds=round(report.fetch_seconds, 3),
            unpack_seconds=round(report.unpack_seconds, 3),
            seconds=round(report.seconds, 3),
        )
        return report
