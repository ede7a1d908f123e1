"""The images that containerd has, in memory: every List, Status and look-up is answered from here.

What a record's target says is read once and kept as long as a name points there. Changes come in two ways, from this
server's own pulls and removals at once, and from containerd's events for everybody else's (and ours, once
more); an event only says that a name has changed, so the name is read again. Reads of one name may overtake each
other, therefore each takes a number first, and an answer older than what is known is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import errors as containerd
from cri.concurrency.together import all_of
from cri.errors import CriError, InvalidArgument, NotFound
from cri.image import reference
from cri.image.documents import walk
from cri.image.manifest import check_layers, is_index
from cri.image.names import Facts, Names, facts_of
from cri.image.stored import StoredDocuments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from api.containerd import Client
    from api.containerd import Image as Record
    from cri.image.image import Image
    from cri.image.platform import Platform

log = structlog.get_logger(__name__)

_REMEMBERED: Final = 10_000
"""Names that are gone whose last turn is kept."""


class Index:
    """All images by id and by name."""

    def __init__(
        self, client: Client, platform: Platform, pinned: Sequence[str], others: Sequence[Platform] = ()
    ) -> None:
        """`platform` is this host's, `others` those that runtime handlers emulate.

        `pinned` are references and patterns of images that are pinned whatever their labels say."""
        self._client = client
        self._platforms = tuple(dict.fromkeys((platform, *others)))
        self._names = Names(self._platforms, pinned)
        self._turns: dict[str, int] = {}
        self._turn = 0

    def reconfigure(self, pinned: Sequence[str], others: Sequence[Platform]) -> None:
        """Other pinned images and platforms; images that were left out for their platform come with the next `load`."""
        self._platforms = tuple(dict.fromkeys((self._platforms[0], *others)))
        self._names.reconfigure(self._platforms, pinned)

    async def load(self) -> None:
        """Read all records. What cannot be understood is logged and left out, never fatal."""
        turn = self._next_turn()
        records = await self._client.images.list()
        await all_of([self._learn(record, turn) for record in records])
        for name in set(self._names) - {record.name for record in records}:
            self._drop(name, turn)

    async def refresh(self, name: str) -> None:
        """Read one record again, after an event that names it."""
        turn = self._next_turn()
        try:
            record = await self._client.images.get(name)
        except containerd.NotFound:
            self._drop(name, turn)
            return
        await self._learn(record, turn)

    def put(self, record: Record, platform: Platform, facts: Facts) -> None:
        """Note a record that this server has just written after a pull for `platform`."""
        self._set(record, {platform: facts}, self._next_turn())

    def forget(self, names: Iterable[str]) -> None:
        """Note that this server has just removed these records."""
        turn = self._next_turn()
        for name in names:
            self._drop(name, turn)

    def images(self) -> list[Image]:
        """All images, by id."""
        return self._names.images()

    def contains(self, image_id: str) -> bool:
        """Whether there is an image with this id."""
        return self._names.image(image_id) is not None

    def named(self, name: str, platform: Platform | None = None) -> Image | None:
        """The image that this exact record stands for on a platform, by default this host's."""
        return self._names.named_for(name, platform or self._platforms[0])

    def find(self, text: str, platform: Platform | None = None) -> Image | None:
        """The image that an id, a name as users write it, or a unique beginning of an id stands for.

        A name may stand for another image on another platform. Raises InvalidArgument if the beginning fits several
        ids.
        """
        image = self._names.image(text) or self.named(text, platform)
        if image is None and (name := _normalised(text)):
            image = self.named(name, platform)
        return image or self._by_prefix(text)

    def all_of(self, text: str) -> list[Image]:
        """Every image that an id or name stands for: several where platforms share the name.

        Raises InvalidArgument if the beginning of an id fits several.
        """
        image = self._names.image(text)
        images = [image] if image else self._names.named(text) or self._names.named(_normalised(text))
        if not images and (image := self._by_prefix(text)):
            images = [image]
        return images

    def _by_prefix(self, text: str) -> Image | None:
        prefix = reference.id_prefix(text)
        matches = self._names.beginning(prefix) if prefix else []
        if len(matches) > 1:
            raise InvalidArgument(
                f"image id {text!r} is ambiguous: it begins {len(matches)} ids; give more digits"
            )
        return matches[0] if matches else None

    async def _learn(self, record: Record, turn: int) -> None:
        facts = self._names.facts(record.target.digest)
        # What was not there for one platform may have come since, under the same digest.
        if missing := [platform for platform in self._platforms if platform not in facts]:
            try:
                facts = await self._read(record, missing, facts)
            except (CriError, containerd.ContainerdError) as error:
                log.warning("image cannot be used and is left out", image=record.name, reason=str(error))
                self._drop(record.name, turn)
                return
        self._set(record, facts, turn)

    async def _read(
        self, record: Record, missing: Sequence[Platform], known: Mapping[Platform, Facts]
    ) -> Mapping[Platform, Facts]:
        """What is known of the target, with what it says for the other platforms whose documents are there."""
        found = dict(known)
        failures: list[Exception] = []
        for platform in missing:
            try:
                found[platform] = await self._read_for(record, platform)
            except (NotFound, containerd.NotFound) as failure:
                failures.append(failure)
        if not found:
            raise failures[0]
        return found

    async def _read_for(self, record: Record, platform: Platform) -> Facts:
        source = StoredDocuments(self._client)
        found = await walk(source, record.target, platform, record.name)
        config = await source.config(found.manifest.config, record.name)
        check_layers(found.manifest, config, record.name)
        return facts_of(found, config)

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _current(self, name: str, turn: int) -> bool:
        if self._turns.get(name, 0) > turn:
            return False
        self._turns[name] = turn
        if len(self._turns) > len(self._names) + _REMEMBERED:
            # No read takes as long as the oldest of so many turns.
            oldest = turn - _REMEMBERED // 2
            self._turns = {name: number for name, number in self._turns.items() if number >= oldest}
        return True

    def _set(self, record: Record, facts: Mapping[Platform, Facts], turn: int) -> None:
        if not self._current(record.name, turn):
            return
        if not is_index(record.target.media_type):
            # A manifest is the same image on every platform.
            facts = {**dict.fromkeys(self._platforms, next(iter(facts.values()))), **facts}
        self._names.put(record, facts)

    def _drop(self, name: str, turn: int) -> None:
        if self._current(name, turn):
            self._names.drop(name)


def _normalised(text: str) -> str:
    """The record's name for what a user wrote, "" if that cannot be."""
    try:
        return str(reference.parse(text))
    except InvalidArgument:
        return ""
