"""containerd's transfer service as the one that fetches and unpacks (containerd 2.0 on; that of 1.7 knows no mirrors).

It only goes ahead. The daemon is asked to have the resolved digest under the pull lease, which spares this server
every byte of the layers; then the assembly runs as for any pull, finds content and snapshots there, and writes what
is missing. So both engines have the same results, and what the daemon has not done (it skips a snapshotter that it
is not configured for, with no more than a line in its log) or could not do is done, or explained, by the assembly.
Nothing may be stricter there than here, with one exception: an image that the daemon's own verifiers veto stays
vetoed.

Not every pull can be handed over: the daemon knows hosts.toml but neither this server's other registry settings nor
its proxy, has no registry tokens, and keeps all layers' blobs. `handed_over` says which.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import errors as containerd
from api.containerd import typed
from api.containerd.introspection import TRANSFER
from api.wire.containerd import transfer_types_pb2 as wire
from api.wire.containerd import types_pb2
from cri.concurrency.together import first_cause
from cri.concurrency.undo import UndoStack
from cri.errors import DeadlineExceeded, PermissionDenied
from cri.image import records
from cri.image.hosts import tree_for
from cri.image.proxy import proxy_for
from cri.image.verify import SIGNATURE_VALIDATION_FAILED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from api.containerd import Client
    from api.containerd.streams import Stream
    from cri.image.credentials import Credentials, Keyring
    from cri.image.endpoint import Endpoint
    from cri.image.order import Order
    from cri.image.resolve import Resolved
    from cri.image.settings import ImageSettings, RegistrySettings
    from cri.image.tally import Tally

log = structlog.get_logger(__name__)

HEEDING_MAJOR: Final = 2
WORTHWHILE_BYTES: Final = 4 << 20
"""Compressed bytes from which on it pays that no byte passes through here; below, the daemon's asking the registry
once more costs more."""
LAYER: Final = "layer-"
"""What the daemon's names for layers begin with."""
ENDS: Final = frozenset({"complete", "already exists", "extracted"})
SETTLING_SECONDS: Final = 1.0
VETO: Final = "image verifier"
"""What the daemon's refusal contains when one of its verifiers has said no."""


class TransferService:
    """The daemon's service, as far as pulls use it; one for the whole server."""

    def __init__(self, client: Client, settings: ImageSettings, registry: RegistrySettings) -> None:
        self._client = client
        self._settings = settings
        self._registry = registry
        self._there = False
        """Whether the daemon has the service, as far as was found out."""
        self._skipped: set[str] = set()
        """Snapshotters that it turned out not to unpack for."""

    def reconfigure(self, settings: ImageSettings, registry: RegistrySettings) -> None:
        """Other settings for pulls that begin from now on."""
        self._settings = settings
        self._registry = registry

    async def look(self) -> None:
        """Find out whether the daemon has the service; whenever another daemon may have taken its place."""
        plugins = await self._client.introspection.plugins(f"type=={TRANSFER}")
        version = (await self._client.version.get()).version
        self._there = any(plugin.error is None for plugin in plugins) and _heeds_host_directory(version)
        self._skipped.clear()

    def handed_over(self, order: Order, resolved: Resolved, endpoints: Sequence[Endpoint]) -> bool:
        """Whether the daemon shall go ahead with this pull; a line in the log says why not where it should."""
        engine = self._settings.image_pull_engine
        small = resolved.walk.manifest.size < WORTHWHILE_BYTES
        if engine == "local" or (engine == "auto" and small):
            return False
        reason = self._obstacle(order, endpoints) if self._there else "containerd has no transfer service"
        if reason:
            say = log.warning if engine == "transfer" else log.debug
            say("image is pulled by this server itself", image=str(order.reference), reason=reason)
        return not reason

    def _obstacle(self, order: Order, endpoints: Sequence[Endpoint]) -> str:
        """Why the daemon would not do the same as this server; "" if it would."""
        if self._registry.headers or (self._registry.mirrors and not self._registry.config_path):
            return "the registry configuration is of the old style"
        if any(config.tls is not None for config in self._registry.configs.values()):
            return "the TLS configuration is of the old style"
        if self._settings.discard_unpacked_layers:
            return "unpacked layers' blobs are not kept"
        if not self._settings.disable_snapshot_annotations:
            return "snapshots are annotated for a remote snapshotter"
        if order.snapshotter in self._skipped:
            return f"containerd's transfer service does not unpack for snapshotter {order.snapshotter}"
        if any(order.keyring.credentials(endpoint.host).registry_token for endpoint in endpoints):
            return "a registry token cannot be passed on"
        if any(proxy_for(endpoint.url, os.environ) for endpoint in endpoints):
            return "a proxy is used"
        return ""

    @asynccontextmanager
    async def ahead(
        self, client: Client, order: Order, resolved: Resolved, tally: Tally
    ) -> AsyncIterator[None]:
        """Let the daemon fetch and unpack, then run the block, after whose failure the daemon's record goes again.

        `client` is leased. A failed transfer is logged and left to the block. Raises PermissionDenied (a verifier of
        the daemon's has refused the image), DeadlineExceeded (nothing moved for too long).
        """
        name = order.reference.digested_name(resolved.walk.target.digest)
        async with UndoStack(f"transfer {name}") as undo:
            if not await self._recorded(name):
                undo.push("remove image record", lambda: _remove(self._client, name))
            began = time.time_ns()
            undo.push("abort ingests", lambda: _abort(self._client, resolved, began))
            try:
                done = await self._transfer(client, order, name, tally)
            except BaseExceptionGroup as failures:
                raise first_cause(failures) from None
            if done:
                await self._note_skipped(order, resolved)
            yield

    async def _transfer(self, client: Client, order: Order, name: str, tally: Tally) -> bool:
        """Returns whether the daemon succeeded."""
        transfer = _Transfer(client, order.keyring, self._settings.image_pull_progress_timeout, tally)
        tree = await asyncio.to_thread(tree_for, self._registry.config_path, order.reference.domain)
        try:
            with tally.part("fetch"):
                await transfer.run(
                    wire.OCIRegistry(
                        reference=name,
                        resolver=wire.RegistryResolver(auth_stream=transfer.auth_id, host_dir=tree),
                    ),
                    _destination(order, name),
                )
            tally.engine = "transfer"
        except* containerd.ContainerdError as failures:
            error = first_cause(failures)
            if isinstance(error, containerd.Unimplemented):
                self._there = False
            if VETO in str(error):
                raise PermissionDenied(
                    f"{SIGNATURE_VALIDATION_FAILED}: {order.reference}: containerd refuses it: {error}"
                ) from None
            log.warning(
                "containerd's transfer failed, going on without it",
                image=str(order.reference),
                error=type(error).__name__,
            )
        return tally.engine == "transfer"

    async def _recorded(self, name: str) -> bool:
        try:
            await self._client.images.get(name)
        except containerd.NotFound:
            return False
        return True

    async def _note_skipped(self, order: Order, resolved: Resolved) -> None:
        """Find out whether blobs came without a snapshot, by the label that unpacking puts on the config."""
        if order.snapshotter in self._skipped:
            return
        try:
            config = await self._client.content.info(resolved.walk.manifest.config.digest)
        except containerd.NotFound:
            return
        label = f"containerd.io/gc.ref.snapshot.{order.snapshotter}"
        if resolved.walk.manifest.layers and label not in config.labels:
            self._skipped.add(order.snapshotter)
            log.info("containerd's transfer service does not unpack here", snapshotter=order.snapshotter)


class _Transfer:
    """One transfer, with the two streams beside it."""

    def __init__(self, client: Client, keyring: Keyring, progress_timeout: float, tally: Tally) -> None:
        self._client = client
        self._keyring = keyring
        self._timeout = progress_timeout or None
        self._tally = tally
        token = secrets.token_hex(8)
        self.auth_id, self._progress_id = f"cri-shim-auth-{token}", f"cri-shim-progress-{token}"
        self._offsets: dict[str, int] = {}
        self._events: dict[str, str] = {}
        """The last event of each blob."""
        self._settled = asyncio.Event()
        """Set while no blob is known whose end was not reported."""

    async def run(self, source: wire.OCIRegistry, destination: wire.ImageStore) -> None:
        """Raises ContainerdError and DeadlineExceeded, in exception groups."""
        async with (
            self._client.streams.open(self.auth_id) as auth,
            self._client.streams.open(self._progress_id) as progress,
            asyncio.TaskGroup() as group,
        ):
            beside = [
                group.create_task(self._answer(auth), name="answer containerd's questions for credentials"),
                group.create_task(self._follow(progress), name="follow the transfer's progress"),
            ]
            await self._client.transfer.transfer(
                typed(source), typed(destination), progress_stream=self._progress_id
            )
            # The last reports may still be on their way; they only matter for what the log says.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), SETTLING_SECONDS)
            for task in beside:
                task.cancel()

    async def _answer(self, auth: Stream) -> None:
        """One answer to each question, else the daemon waits for ever."""
        while (question := await auth.receive()) is not None:
            asked = question.decode(wire.AuthRequest)
            await auth.send(typed(_answer(self._keyring.credentials(asked.host))))

    async def _follow(self, progress: Stream) -> None:
        """Count bytes; a blob that is on its way and does not move for too long ends the transfer."""
        while True:
            try:
                async with asyncio.timeout(self._timeout if self._loading() else None):
                    value = await progress.receive()
            except TimeoutError:
                raise DeadlineExceeded(
                    f"no progress for {self._timeout:g} s: containerd waits for {', '.join(self._loading())}"
                ) from None
            if value is None:
                return
            self._note(value.decode(wire.Progress))

    def _loading(self) -> list[str]:
        return sorted(name for name, event in self._events.items() if event == "downloading")

    def _note(self, report: wire.Progress) -> None:
        if not report.total:
            return
        self._events[report.name] = report.event
        if not set(self._events.values()) - ENDS:
            self._settled.set()
        else:
            self._settled.clear()
        if report.event == "already exists":
            return
        before = self._offsets.get(report.name, 0)
        if not before and report.progress and report.name.startswith(LAYER):
            self._tally.fetched_layers += 1
        self._offsets[report.name] = max(before, report.progress)
        self._tally.fetched_bytes += self._offsets[report.name] - before


def _destination(order: Order, name: str) -> wire.ImageStore:
    platform = types_pb2.Platform(
        os=order.platform.os, architecture=order.platform.architecture, variant=order.platform.variant
    )
    return wire.ImageStore(
        name=name,
        labels=records.labels_for(pinned=False),
        platforms=[platform],
        manifest_limit=1,
        unpacks=[wire.UnpackConfiguration(platform=platform, snapshotter=order.snapshotter)],
    )


def _answer(credentials: Credentials) -> wire.AuthResponse:
    if credentials.identity_token:
        return wire.AuthResponse(authType=wire.REFRESH, secret=credentials.identity_token)
    if credentials.username or credentials.password:
        return wire.AuthResponse(
            authType=wire.CREDENTIALS, username=credentials.username, secret=credentials.password
        )
    return wire.AuthResponse(authType=wire.NONE)


def _heeds_host_directory(version: str) -> bool:
    """Whether it reads hosts.toml as told; before 2.0 it would go past mirrors to the registry itself."""
    major = version.removeprefix("v").partition(".")[0]
    return major.isdecimal() and int(major) >= HEEDING_MAJOR


async def _remove(client: Client, name: str) -> None:
    try:
        await client.images.delete(name)
    except containerd.NotFound:
        return


async def _abort(client: Client, resolved: Resolved, began: int) -> None:
    """Drop the ingests that the transfer has begun; those that were there before are somebody else's."""
    manifest = resolved.walk.manifest
    refs = {f"{LAYER}{layer.digest}" for layer in manifest.layers} | {f"config-{manifest.config.digest}"}
    for ingest in await client.content.statuses():
        if ingest.ref in refs and ingest.started_at >= began:
            try:
                await client.content.abort(ingest.ref)
            except containerd.NotFound:
                continue
