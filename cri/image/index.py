"""The images that containerd has, in memory: every List, Status and look-up is answered from here.

containerd's records are names that point at content; an image is all names whose content has one config. What the
content says is read once per target and kept as long as a name points there. Changes come in two ways, from this
server's own pulls and removals at once, and from containerd's events for everybody else's (and ours, once
more); an event only says that a name has changed, so the name is read again. Reads of one name may overtake each
other, therefore each takes a number first, and an answer older than what is known is dropped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import errors as containerd
from cri.concurrency.together import all_of
from cri.errors import CriError, InvalidArgument, NotFound
from cri.image import reference
from cri.image.chain import chain_ids
from cri.image.documents import walk
from cri.image.image import Image, ImageConfig
from cri.image.manifest import check_layers
from cri.image.records import PINNED, PINNED_LABEL, is_pinned
from cri.image.stored import StoredDocuments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from api.containerd import Client, Descriptor
    from api.containerd import Image as Record
    from cri.image.documents import Walk
    from cri.image.platform import Platform

log = structlog.get_logger(__name__)

_REMEMBERED: Final = 10_000
"""Names that are gone whose last turn is kept."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a target's content says: the part of an Image that does not depend on names."""

    id: str
    size: int
    config: ImageConfig
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class _Name:
    target: Descriptor
    id: str
    pinned: bool


def facts_of(found: Walk, config: ImageConfig) -> Facts:
    """The facts of an image whose documents are known."""
    return Facts(found.manifest.config.digest, found.size, config, found.manifest_digest)


class Index:
    """All images by id and by name."""

    def __init__(
        self, client: Client, platform: Platform, pinned: Sequence[str], others: Sequence[Platform] = ()
    ) -> None:
        """`platform` is this host's, `others` those that runtime handlers emulate.

        `pinned` are references and patterns of images that are pinned whatever their labels say."""
        self._client = client
        self._platforms = tuple(dict.fromkeys((platform, *others)))
        self._pinned = tuple(pinned)
        self._names: dict[str, _Name] = {}
        self._members: dict[str, dict[str, _Name]] = {}
        """By image id, what `_names` holds by name."""
        self._facts: dict[str, Facts] = {}
        """By target, with the number of names that point there in `_uses`."""
        self._uses: Counter[str] = Counter()
        self._images: dict[str, Image] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0

    def reconfigure(self, pinned: Sequence[str], others: Sequence[Platform]) -> None:
        """Other pinned images and platforms; images that were left out for their platform come with the next `load`."""
        self._platforms = tuple(dict.fromkeys((self._platforms[0], *others)))
        self._pinned = tuple(pinned)
        for image_id in list(self._images):
            self._rebuild(image_id)

    async def load(self) -> None:
        """Read all records. What cannot be understood is logged and left out, never fatal."""
        turn = self._next_turn()
        records = await self._client.images.list()
        await all_of([self._learn(record, turn) for record in records])
        for name in self._names.keys() - {record.name for record in records}:
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

    def put(self, record: Record, facts: Facts) -> None:
        """Note a record that this server has just written."""
        self._set(record, facts, self._next_turn())

    def forget(self, names: Iterable[str]) -> None:
        """Note that this server has just removed these records."""
        turn = self._next_turn()
        for name in names:
            self._drop(name, turn)

    def images(self) -> list[Image]:
        """All images, by id."""
        return [self._images[image_id] for image_id in sorted(self._images)]

    def contains(self, image_id: str) -> bool:
        """Whether there is an image with this id."""
        return image_id in self._images

    def named(self, name: str) -> Image | None:
        """The image with this exact record."""
        known = self._names.get(name)
        return self._images.get(known.id) if known else None

    def find(self, text: str) -> Image | None:
        """The image that an id, a name as users write it, or a unique beginning of an id stands for.

        Raises InvalidArgument if the beginning fits several ids.
        """
        if text in self._images:
            return self._images[text]
        image = self.named(text) or self._by_reference(text)
        return image or self._by_prefix(text)

    def _by_reference(self, text: str) -> Image | None:
        try:
            parsed = reference.parse(text)
        except InvalidArgument:
            return None
        return self.named(str(parsed))

    def _by_prefix(self, text: str) -> Image | None:
        prefix = reference.id_prefix(text)
        if not prefix:
            return None
        matches = [image_id for image_id in self._images if image_id.startswith(prefix)]
        if len(matches) > 1:
            raise InvalidArgument(
                f"image id {text!r} is ambiguous: it begins {len(matches)} ids; give more digits"
            )
        return self._images[matches[0]] if matches else None

    async def _learn(self, record: Record, turn: int) -> None:
        facts = self._facts.get(record.target.digest)
        if facts is None:
            try:
                facts = await self._read(record)
            except (CriError, containerd.ContainerdError) as error:
                log.warning("image cannot be used and is left out", image=record.name, reason=str(error))
                self._drop(record.name, turn)
                return
        self._set(record, facts, turn)

    async def _read(self, record: Record) -> Facts:
        """What the target says for the first platform whose documents are there."""
        failures: list[Exception] = []
        for platform in self._platforms:
            try:
                return await self._read_for(record, platform)
            except (NotFound, containerd.NotFound) as failure:
                failures.append(failure)
        raise failures[0]

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

    def _set(self, record: Record, facts: Facts, turn: int) -> None:
        if not self._current(record.name, turn):
            return
        known = _Name(record.target, facts.id, record.labels.get(PINNED_LABEL) == PINNED)
        old = self._names.get(record.name)
        if old == known:
            return
        self._facts[record.target.digest] = facts
        self._uses[record.target.digest] += 1
        if old is not None:
            self._unlink(record.name, old)
        self._names[record.name] = known
        self._members.setdefault(known.id, {})[record.name] = known
        self._rebuild(known.id)

    def _drop(self, name: str, turn: int) -> None:
        if self._current(name, turn) and (old := self._names.pop(name, None)) is not None:
            self._unlink(name, old)

    def _unlink(self, name: str, old: _Name) -> None:
        target = old.target.digest
        self._uses[target] -= 1
        if not self._uses[target]:
            del self._uses[target], self._facts[target]
        members = self._members[old.id]
        members.pop(name, None)
        self._rebuild(old.id)

    def _rebuild(self, image_id: str) -> None:
        """Put an image together again whose names have changed, or let it go."""
        names = self._members[image_id]
        if not names:
            del self._members[image_id]
            self._images.pop(image_id, None)
            return
        # One config can be in several manifests and indexes; the record of the id says which came last.
        known = names.get(image_id) or list(names.values())[-1]
        facts = self._facts[known.target.digest]
        chain = chain_ids(facts.config.diff_ids)
        self._images[image_id] = Image(
            id=image_id,
            names=tuple(sorted(names)),
            repo_tags=tuple(sorted(filter(reference.is_repo_tag, names))),
            repo_digests=tuple(sorted(filter(reference.is_repo_digest, names))),
            size=facts.size,
            chain_id=chain[-1] if chain else "",
            config=facts.config,
            pinned=any(name.pinned for name in names.values()) or is_pinned(names, self._pinned),
            target=known.target,
            manifest_digest=facts.manifest_digest,
        )
