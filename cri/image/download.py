"""One blob, from the hosts that have it into one ingest of containerd's content store.

It goes through in blocks, straight from the connection to containerd, which computes the digest and checks it at
the end; nothing is kept here. A connection that breaks is resumed where the ingest stands; a host that sends
wrong bytes is not asked again for this blob. The ingest's name is the one that containerd's other clients use,
so that a pull by `ctr` and one of ours do not fetch the same blob side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import ContentExists
from api.containerd import errors as containerd
from cri.concurrency.supervision import shielded
from cri.errors import DeadlineExceeded, ResourceExhausted
from cri.image.errors import Corrupt, HostError, Interrupted, all_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from api.containerd import Client, Writer
    from cri.image.manifest import BlobDescriptor
    from cri.image.registry import Repository
    from cri.image.tally import Tally
    from cri.image.turns import Turns

log = structlog.get_logger(__name__)

IDLE_ATTEMPTS: Final = 5
"""Broken connections in a row that brought no byte, after which the blob is given up."""
FIRST_PAUSE_SECONDS: Final = 0.2
LOCKED_PAUSE_SECONDS: Final = 0.2
OPENING_SECONDS: Final = 300.0
"""The daemon reads what an ingest has, to go on with its digest."""
ABORT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob that a pull wants, and what the pull adds to it."""

    descriptor: BlobDescriptor
    labels: Callable[[], Mapping[str, str]]
    """Asked at the very end: what is known of the blob by then is written with it."""
    rank: int
    """The lower, the sooner its blocks are handed over, among those of `turns`."""
    turns: Turns
    tally: Tally


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of it."""

    received: int
    """Bytes that came from hosts; 0 if the blob was there."""
    labels: Mapping[str, str]
    """Those it was stored with; none if it was there."""


class Download:
    """The attempts to get one blob; made for one `run`."""

    def __init__(self, repository: Repository, wanted: Wanted, progress_timeout: float) -> None:
        """Seconds without a byte after which it fails are `progress_timeout`; 0 is never."""
        self._repository = repository
        self._wanted = wanted
        self._descriptor = wanted.descriptor
        self._progress_timeout = progress_timeout
        self._ref = f"layer-{wanted.descriptor.digest}"
        self._received = 0
        self._labels: Mapping[str, str] = {}
        self._last_block = b""
        """The end of the blob, which is sent with the commit."""
        self._failures: list[HostError] = []
        self._corrupt: set[str] = set()
        self._contributors: set[str] = set()
        """Hosts that sent bytes of what the ingest holds now."""
        self._owns_ingest = False
        self._others_offset = -2
        self._others_moved = 0.0

    async def run(self, client: Client, slots: asyncio.Semaphore) -> Fetched:
        """Have the blob stored, downloading it within one of `slots`.

        Drops the ingest on failure and cancellation, so that nothing half-stored stays behind.
        """
        try:
            while not await self._stored(client, slots):
                pass
        except BaseException as error:
            if self._owns_ingest:
                await shielded(self._abort(client), f"abort {self._ref}", ABORT_SECONDS)
            if isinstance(error, containerd.ContainerdError) and "no space left" in error.details:
                raise ResourceExhausted(
                    f"{self._subject}: containerd's disk is full; free space on it, or have the kubelet "
                    "collect images"
                ) from error
            raise
        return Fetched(self._received, self._labels)

    async def _stored(self, client: Client, slots: asyncio.Semaphore) -> bool:
        """One round: take up the ingest, fill it, commit it. False if another round is needed."""
        digest, size = self._descriptor.digest, self._descriptor.size
        try:
            async with contextlib.AsyncExitStack() as stack:
                writer = await self._open(client, stack)
                async with slots:
                    await self._fill(writer)
                labels = self._wanted.labels()
                async with self._wanted.turns.turn(self._wanted.rank):
                    await writer.commit(size=size, expected=digest, labels=labels, data=self._last_block)
                self._labels = labels
        except ContentExists:
            pass
        except containerd.Locked:
            self._owns_ingest = False
            await self._wait_for_other_writer(client)
            return False
        except containerd.FailedPrecondition as error:
            await self._abort(client)
            self._blame_contributors(error)
            return False
        return True

    async def _open(self, client: Client, stack: contextlib.AsyncExitStack) -> Writer:
        """The ingest's writer, which ends with `stack`. Who leaves meanwhile knows after whose the ingest is."""

        async def entered() -> Writer:
            writer = client.content.writer(
                self._ref, total=self._descriptor.size, expected=self._descriptor.digest
            )
            opened = await stack.enter_async_context(writer)
            self._owns_ingest = True
            return opened

        try:
            return await shielded(entered(), f"open {self._ref}", OPENING_SECONDS)
        except TimeoutError:
            raise DeadlineExceeded(f"{self._subject}: containerd does not open its ingest") from None

    async def _wait_for_other_writer(self, client: Client) -> None:
        """A pause, and an end to them when the other writer makes no progress either."""
        clock = asyncio.get_running_loop().time
        try:
            offset = (await client.content.status(self._ref)).offset
        except containerd.NotFound:
            offset = -1
        if offset != self._others_offset:
            self._others_offset, self._others_moved = offset, clock()
        if self._progress_timeout and clock() - self._others_moved >= self._progress_timeout:
            raise DeadlineExceeded(
                f"{self._subject}: another client of containerd writes it (ingest {self._ref}) and makes no progress"
            )
        log.info("blob is being written by another client, waiting for it", ref=self._ref, offset=offset)
        await asyncio.sleep(LOCKED_PAUSE_SECONDS)

    async def _fill(self, writer: Writer) -> None:
        """Bring the ingest to its full length, whatever happens to connections on the way."""
        clock = asyncio.get_running_loop().time
        moved, idle = clock(), 0
        self._last_block = b""
        while writer.offset + len(self._last_block) < self._descriptor.size:
            before = writer.offset
            try:
                await self._stream(writer)
            except Corrupt as failure:
                self._distrust({failure.host}, failure)
                await writer.truncate()
                self._contributors.clear()
            except Interrupted as failure:
                self._failures.append(failure)
                if writer.offset > before:
                    moved, idle = clock(), 0
                idle += 1
                self._give_up_when_idle(writer.offset, idle, clock() - moved)
                log.info("download broke, resuming it", blob=self._descriptor.digest, offset=writer.offset)
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (idle - 1))

    async def _stream(self, writer: Writer) -> None:
        async with self._repository.blob(self._descriptor, writer.offset, self._corrupt) as blob:
            self._contributors.add(blob.host)
            position = blob.start
            async for parts in blob:
                size = sum(map(len, parts))
                self._received += size
                self._wanted.tally.fetched_bytes += size
                # A host without ranges begins at 0: what the ingest has already is passed over.
                new = _without_beginning(parts, writer.offset - position)
                position += size
                if position == self._descriptor.size:
                    self._last_block = b"".join(new)
                elif new:
                    async with self._wanted.turns.turn(self._wanted.rank):
                        await writer.write(*new)

    def _blame_contributors(self, error: containerd.FailedPrecondition) -> None:
        """The whole has the wrong digest: whoever sent a part of it is not asked again."""
        hosts, self._contributors = self._contributors, set()
        # Without hosts the ingest was left by an earlier server; the next round starts at 0.
        if not hosts and self._failures:
            raise error
        host = ", ".join(sorted(hosts)) or "an earlier download"
        self._distrust(hosts, Corrupt(host, f"wrong content: {error.details}"))

    def _distrust(self, hosts: set[str], failure: HostError) -> None:
        self._failures.append(failure)
        self._corrupt |= hosts
        if self._corrupt >= self._repository.hosts_of(self._descriptor):
            raise all_failed(self._subject, self._failures)

    def _give_up_when_idle(self, offset: int, idle: int, silence: float) -> None:
        subject = f"{self._subject} at byte {offset} of {self._descriptor.size}"
        if self._progress_timeout and silence >= self._progress_timeout:
            raise DeadlineExceeded(
                f"{subject}: no progress for {self._progress_timeout:g} s: {self._failures[-1]}"
            )
        if idle >= IDLE_ATTEMPTS:
            raise all_failed(subject, self._failures[-idle:])

    async def _abort(self, client: Client) -> None:
        with contextlib.suppress(containerd.ContainerdError):
            await client.content.abort(self._ref)

    @property
    def _subject(self) -> str:
        return f"{self._repository.name}: blob {self._descriptor.digest}"


def _without_beginning(parts: list[bytes], count: int) -> list[bytes]:
    """The parts less their first `count` bytes."""
    if count <= 0:
        return parts
    rest = b"".join(parts)[count:]
    return [rest] if rest else []
