"""The image service as the rest of the server sees it. Wiring only; the work is in the modules beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cri.errors import FailedPrecondition, InvalidArgument, NotFound
from cri.image import reference as references
from cri.image.credentials import keyring
from cri.image.fetch import Fetcher
from cri.image.filesystem import Filesystem, FilesystemUsage
from cri.image.index import Index
from cri.image.joining import Joined
from cri.image.lease import PullLease
from cri.image.local import LocalUnpacker
from cri.image.mirrors import deprecations
from cri.image.order import Order
from cri.image.platform import host_platform, parse_platform
from cri.image.pull import Puller
from cri.image.remove import remove_names
from cri.image.transfer import TransferService
from cri.image.unpack import Unpacker
from cri.observe.metrics import Metrics
from cri.observe.stages import stage

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence

    from api.containerd import Client
    from api.wire.criv1.image_pb2 import AuthConfig
    from cri.concurrency.supervision import Supervisor
    from cri.image.image import Image
    from cri.image.platform import Platform
    from cri.image.settings import ImageSettings, RegistrySettings
    from cri.image.tally import PullReport

log = structlog.get_logger(__name__)


class ImageStore:
    """Finds, pulls, unpacks, removes and measures images."""

    def __init__(
        self,
        client: Client,
        settings: ImageSettings,
        registry: RegistrySettings,
        supervisor: Supervisor,
        metrics: Metrics | None = None,
    ) -> None:
        """`load` comes before anything else; pulls are counted in `metrics`."""
        self._client = client
        self._supervisor = supervisor
        self._metrics = Metrics() if metrics is None else metrics
        self._settings = settings
        self._registry = registry
        pinned = _pinned(settings)
        self._platform = platform = host_platform()
        self._lease = PullLease(client)
        self._index = Index(client, platform, pinned, _platforms(settings))
        self._fetcher = Fetcher(
            supervisor,
            self._lease,
            node_downloads=settings.node_concurrent_downloads,
            progress_timeout=settings.image_pull_progress_timeout,
        )
        self._unpacker = Unpacker(client, supervisor, self._lease)
        self._transfer = TransferService(client, settings, registry)
        self._puller = self._new_puller(pinned)
        self._local = LocalUnpacker(client, platform, self._lease, self._unpacker)
        self._filesystem = Filesystem(client, supervisor, settings.snapshotter, settings.stats_collect_period)
        self._reports: dict[str, PullReport] = {}
        """Of the last pull, by image id."""
        self._pulls: Joined[PullReport] = Joined(supervisor, "pull")
        for line in deprecations(registry):
            log.warning(line)

    def _new_puller(self, pinned: Sequence[str]) -> Puller:
        return Puller(
            self._client,
            settings=self._settings,
            registry=self._registry,
            transfer=self._transfer,
            index=self._index,
            lease=self._lease,
            fetcher=self._fetcher,
            unpacker=self._unpacker,
            pinned=pinned,
        )

    def reconfigure(self, settings: ImageSettings, registry: RegistrySettings) -> None:
        """Other settings for what is asked for from now on; pulls under way end under the old ones.

        The snapshotter and the period of measurements stay as they are. Raises InvalidArgument for a platform that
        is none; then nothing has changed.
        """
        pinned, platforms = _pinned(settings), _platforms(settings)
        more_platforms = set(settings.platforms) - set(self._settings.platforms)
        self._settings, self._registry = settings, registry
        self._index.reconfigure(pinned, platforms)
        self._fetcher.reconfigure(
            node_downloads=settings.node_concurrent_downloads,
            progress_timeout=settings.image_pull_progress_timeout,
        )
        self._transfer.reconfigure(settings, registry)
        self._puller = self._new_puller(pinned)
        if more_platforms:
            self._supervisor.start("look at images again", self._index.load())

    async def load(self) -> None:
        """Fill the index from containerd; images that cannot be read are logged and left out.

        Also deletes the leases of pulls that a killed server left behind.
        """
        await self._lease.sweep()
        await self._transfer.look()
        await self._index.load()

    async def on_image_event(self, topic: str, name: str) -> None:
        """Follow one of containerd's `/images/*` events for the record `name`."""
        log.debug("image record changed", topic=topic, image=name)
        await self._index.refresh(name)

    async def pull(
        self,
        reference: str,
        auth: AuthConfig | None = None,
        *,
        snapshotter: str = "",
        platform: str = "",
    ) -> str:
        """Pull and unpack `reference`; returns the image id ("sha256:<config digest>").

        `snapshotter` and `platform` are those of the runtime handler that the image is for; "" is the node's.

        Raises InvalidArgument for a malformed reference, NotFound, Unauthenticated, PermissionDenied,
        Unavailable (message starts with `RegistryUnavailable` where the registry could not be reached) and
        DeadlineExceeded when nothing moved for `image_pull_progress_timeout`.
        """
        report = await self.pull_reported(reference, auth, snapshotter=snapshotter, platform=platform)
        return report.image_id

    async def pull_reported(
        self,
        reference: str,
        auth: AuthConfig | None = None,
        *,
        snapshotter: str = "",
        platform: str = "",
    ) -> PullReport:
        """Like `pull`, with what it took."""
        order = Order(
            reference=references.parse(reference),
            keyring=keyring(auth, self._registry.configs),
            snapshotter=snapshotter or self._settings.snapshotter,
            platform=parse_platform(platform) if platform else self._platform,
        )
        # Credentials are part of the key: having joined another's pull must not stand in for being allowed to.
        key = (
            *(order.reference, order.snapshotter, order.platform),
            *(order.keyring.requested, order.keyring.requested_for),
        )
        with stage("pull"):
            return await self._pulls.run(key, str(order.reference), lambda: self._counted(order))

    async def _counted(self, order: Order) -> PullReport:
        with self._metrics.image_pull():
            report = await self._puller.pull(order)
        self._reports[report.image_id] = report
        for image_id in [known for known in self._reports if not self._index.contains(known)]:
            del self._reports[image_id]
        self._metrics.image_bytes(report.fetched_bytes, report.host, report.fetch_seconds)
        self._metrics.image_layers(fetched=report.layers - report.reused_layers, reused=report.reused_layers)
        return report

    def report_of(self, image: Image) -> PullReport | None:
        """What the image's last pull by this process took; None if another had it made."""
        return self._reports.get(image.id)

    async def ensure(self, reference: str) -> Image:
        """The image, unpacked: the local one if there is one, else pulled (for the sandbox image)."""
        image = self.find(reference)
        if image is not None:
            try:
                await self.unpacked(image, self._settings.snapshotter)
            except FailedPrecondition as error:
                log.warning("image is incomplete, pulling it again", image=reference, reason=error.message)
            else:
                return image
        image_id = await self.pull(reference)
        image = self._index.find(image_id)
        if image is None:
            raise NotFound(f"image {reference} was removed right after it was pulled")
        return image

    async def unpacked(self, image: Image, snapshotter: str) -> str:
        """The chain ID of the image's top layer in `snapshotter`, unpacking it first if nobody has.

        "" for an image without layers. Raises FailedPrecondition where its blobs are incomplete or broken.
        """
        await self._local.unpack(image, snapshotter or self._settings.snapshotter)
        return image.chain_id

    def find(self, reference: str, platform: str = "") -> Image | None:
        """The image that an id, unique short id, tag, digest or name stands for, or None.

        `platform` is that of the runtime handler it is wanted for, "" the node's: on another platform a name may
        stand for another image, or for none yet. Raises InvalidArgument for a short id that fits several images.
        """
        return self._index.find(reference, parse_platform(platform) if platform else None)

    def list(self, reference: str = "") -> builtins.list[Image]:
        """All images, by id; with a `reference` those that it stands for, on whichever platform."""
        return self._index.all_of(reference) if reference else self._index.images()

    async def remove(self, reference: str) -> None:
        """Remove all names of the images that `reference` stands for; no such image is a success.

        Where an id is given, a name that another platform's image goes by as well stays for that one, and with
        it the index that both are in, which keeps the content of both.
        """
        images = self._index.all_of(reference)
        going = {image.id for image in images}
        names = {
            name
            for image in images
            for name in image.names
            if going.issuperset(other.id for other in self._index.all_of(name))
        }
        if not names:
            return
        await remove_names(self._client, names)
        self._index.forget(names)
        log.info("image removed", image=reference, ids=sorted(going), names=len(names))

    async def filesystem(self) -> builtins.list[FilesystemUsage]:
        """Usage of the image file system; at most a minute old, usually `stats_collect_period`."""
        return [await self._filesystem.usage()]


def _pinned(settings: ImageSettings) -> list[str]:
    return [_normalised(name) for name in (*settings.pinned_images, settings.sandbox_image) if name]


def _platforms(settings: ImageSettings) -> list[Platform]:
    return [parse_platform(text) for text in settings.platforms]


def _normalised(pattern: str) -> str:
    """A configured name as records have it; shell patterns stay as they are."""
    try:
        return str(references.parse(pattern))
    except InvalidArgument:
        return pattern
