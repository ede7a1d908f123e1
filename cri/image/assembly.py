"""The content and snapshots of one image, once its manifest is known: everything of a pull that runs in parallel.

Which layers have to be fetched is known early or late. Usually all of them: their downloads start at once, beside the
config's. Where unpacked layers' blobs are not kept, only those that the snapshotter does not have. And where a
remote snapshotter may bring layers by itself, those from the first one on that it does not know. So each download
waits for `_first_wanted`, the number of the lowest layer that is needed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.containerd import errors as containerd
from cri.image import stored
from cri.image.chain import chain_ids
from cri.image.documents import gc_labels, ref_prefix
from cri.image.download import Fetched, Wanted
from cri.image.manifest import check_layers, parse_config
from cri.image.names import Facts, facts_of
from cri.image.turns import Turns
from cri.image.unpack import UNCOMPRESSED_LABEL, Layer, note_diff_id, snapshot_hints, snapshot_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.containerd import Client
    from cri.image.documents import Walk
    from cri.image.fetch import Fetcher
    from cri.image.image import ImageConfig
    from cri.image.reference import Reference
    from cri.image.registry import Repository
    from cri.image.settings import ImageSettings
    from cri.image.tally import Tally
    from cri.image.unpack import Unpacker

_WALKS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be brought together."""

    reference: Reference
    walk: Walk
    snapshotter: str


class Assembly:
    """One image being fetched and unpacked under the pull lease; made for one `run`."""

    def __init__(
        self,
        plan: Plan,
        settings: ImageSettings,
        *,
        client: Client,
        repository: Repository,
        fetcher: Fetcher,
        unpacker: Unpacker,
        tally: Tally,
    ) -> None:
        """`client` is leased, `repository` open."""
        self._plan = plan
        self._settings = settings
        self._client = client
        self._repository = repository
        self._fetcher = fetcher
        self._unpacker = unpacker
        self._tally = tally
        self._layers = plan.walk.manifest.layers
        self._remote = not settings.disable_snapshot_annotations
        self._slots = asyncio.Semaphore(settings.max_concurrent_downloads)
        self._first_wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._turns = Turns()
        self._diff_ids: tuple[str, ...] = ()
        """Known once the config has come."""
        self._labels = {
            f"{stored.SOURCE_LABEL}{plan.reference.domain}": plan.reference.path,
        }

    async def run(self) -> Facts:
        """Bring it together. Raises CriError and ContainerdError, in exception groups."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store_documents(), name="store documents")
            downloads = [
                group.create_task(self._download(number), name=f"download layer {number}")
                for number in range(len(self._layers))
            ]
            if not self._remote and not self._settings.discard_unpacked_layers:
                self._want_from(0)
            config = await self._config()
            self._diff_ids = config.diff_ids
            await self._unpack(config, downloads, group)
            self._want_from(len(self._layers))
        self._tally.fetched_layers += sum(download.result().received > 0 for download in downloads)
        return facts_of(self._plan.walk, config)

    async def _store_documents(self) -> None:
        keep_layers = not self._settings.discard_unpacked_layers
        for step in self._plan.walk.steps:
            ref = f"{ref_prefix(step.target)}-{step.target.digest}"
            labels = gc_labels(step, self._plan.walk.manifest, keep_layers=keep_layers) | self._labels
            await stored.put(self._client, ref, step.target.digest, step.body, labels)

    async def _config(self) -> ImageConfig:
        descriptor = self._plan.walk.manifest.config
        name = str(self._plan.reference)
        with self._tally.part("config"):
            try:
                body = await stored.read(self._client, descriptor.target)
            except containerd.NotFound:
                body = (await self._repository.config(descriptor)).body
                self._tally.fetched_bytes += len(body)
        config = parse_config(body, name)
        check_layers(self._plan.walk.manifest, config, name)
        labels = dict(self._labels)
        if config.diff_ids:
            labels[snapshot_label(self._plan.snapshotter)] = chain_ids(config.diff_ids)[-1]
        await stored.put(self._client, f"config-{descriptor.digest}", descriptor.digest, body, labels)
        return config

    async def _download(self, number: int) -> Fetched:
        if number < await asyncio.shield(self._first_wanted):
            return Fetched(0, {})
        async with self._slots:
            with self._tally.part("fetch"):
                return await self._fetch(number)

    async def _fetch(self, number: int) -> Fetched:
        wanted = Wanted(
            descriptor=self._layers[number],
            labels=lambda: self._layer_labels(number),
            rank=number,
            turns=self._turns,
            tally=self._tally,
        )
        return await self._fetcher.fetch(self._repository, wanted)

    def _layer_labels(self, number: int) -> Mapping[str, str]:
        """With what the config promises, if it has come by now; unpacking checks the promise."""
        if not self._diff_ids:
            return self._labels
        return {**self._labels, UNCOMPRESSED_LABEL: self._diff_ids[number]}

    def _want_from(self, number: int) -> None:
        if not self._first_wanted.done():
            self._first_wanted.set_result(number)

    async def _unpack(
        self, config: ImageConfig, downloads: list[asyncio.Task[Fetched]], group: asyncio.TaskGroup
    ) -> None:
        """Have all snapshots. The config, which is in the lease, holds the top one from now on."""
        chain = chain_ids(config.diff_ids)
        snapshotter = self._plan.snapshotter
        if not chain or await self._unpacker.present(snapshotter, chain[-1:]):
            return
        for left in reversed(range(_WALKS)):
            try:
                await self._climb(chain, config, downloads, group)
            except containerd.NotFound:
                # A parent that was there before nobody held, and now it has been collected: once more from below.
                if not left:
                    raise
            else:
                return

    async def _climb(
        self,
        chain: Sequence[str],
        config: ImageConfig,
        downloads: list[asyncio.Task[Fetched]],
        group: asyncio.TaskGroup,
    ) -> None:
        """Unpack each layer on the one below."""
        snapshotter = self._plan.snapshotter
        if self._settings.discard_unpacked_layers and not self._remote:
            self._want_from(await self._unpacker.present(snapshotter, chain))
        for number, chain_id in enumerate(chain):
            layer = Layer(
                blob=self._layers[number].target,
                diff_id=config.diff_ids[number],
                chain_id=chain_id,
                parent=chain[number - 1] if number else "",
                hints=snapshot_hints(self._plan.reference, self._plan.walk, number) if self._remote else {},
            )
            if self._remote:
                await self._unpack_remote(layer, number)
                continue
            fetched = await downloads[number]
            with self._tally.part("unpack"):
                await self._unpacker.unpack(snapshotter, layer)
            if fetched.labels and UNCOMPRESSED_LABEL not in fetched.labels:
                group.create_task(note_diff_id(self._client, layer), name=f"label layer {number}")

    async def _unpack_remote(self, layer: Layer, number: int) -> None:
        async def blob() -> None:
            # This layer has to be fetched after all, so probably those above it too: they start beside it.
            self._want_from(number)
            async with self._repository:
                await self._fetch(number)

        with self._tally.part("unpack"):
            await self._unpacker.unpack(self._plan.snapshotter, layer, blob)
