"""Names, the content that they point at, and the images that both make up. In memory; nothing waits.

A name is one of containerd's records and points at a target, a manifest or an index. What an index means depends on
the platform that is asked for, and runtime handlers may have platforms of their own: so one tag can stand for several
images, one for each platform whose content is there. Which of them are meant is told by the records of image ids, of
which each CRI pull writes one: where a target's images have such records, those images count and no others. Where
they have none, because another client has brought the content, it is the image for the first platform of the node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.image import reference
from cri.image.chain import chain_ids
from cri.image.image import Image, ImageConfig
from cri.image.records import PINNED, PINNED_LABEL, is_pinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from api.containerd import Descriptor
    from api.containerd import Image as Record
    from cri.image.documents import Walk
    from cri.image.platform import Platform


@dataclass(frozen=True, slots=True)
class Facts:
    """What a target's content says for one platform: the part of an Image that does not depend on names."""

    id: str
    size: int
    config: ImageConfig
    manifest_digest: str


def facts_of(found: Walk, config: ImageConfig) -> Facts:
    """The facts of an image whose documents are known."""
    return Facts(found.manifest.config.digest, found.size, config, found.manifest_digest)


@dataclass(frozen=True, slots=True)
class _Name:
    target: Descriptor
    pinned: bool


@dataclass(slots=True)
class _Target:
    """One manifest or index: what is known of it, and who points there."""

    facts: dict[Platform, Facts] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    @property
    def ids(self) -> set[str]:
        """The images that it is, for one platform or another."""
        return {facts.id for facts in self.facts.values()}


class Names:
    """All names, targets and images."""

    def __init__(self, platforms: Sequence[Platform], pinned: Sequence[str]) -> None:
        """`platforms`: the node's own, then those of runtime handlers. `pinned`: references and patterns."""
        self._names: dict[str, _Name] = {}
        self._targets: dict[str, _Target] = {}
        """By digest."""
        self._homes: dict[str, set[str]] = {}
        """By image id, the digests of the targets that are this image for some platform."""
        self._images: dict[str, Image] = {}
        self.reconfigure(platforms, pinned)

    def reconfigure(self, platforms: Sequence[Platform], pinned: Sequence[str]) -> None:
        """Other platforms and pinned images."""
        self._ranks = {platform: rank for rank, platform in enumerate(platforms)}
        self._pinned = tuple(pinned)
        self._rebuild(list(self._homes))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def facts(self, digest: str) -> Mapping[Platform, Facts]:
        """What is known of a target, by platform."""
        target = self._targets.get(digest)
        return target.facts if target else {}

    def images(self) -> list[Image]:
        """All images, by id."""
        return [self._images[image_id] for image_id in sorted(self._images)]

    def image(self, image_id: str) -> Image | None:
        """The image with this id."""
        return self._images.get(image_id)

    def beginning(self, prefix: str) -> list[Image]:
        """The images whose id begins so."""
        return [image for image_id, image in self._images.items() if image_id.startswith(prefix)]

    def named(self, name: str) -> list[Image]:
        """The images that a name stands for, the node's own platform first."""
        return [self._images[image_id] for image_id in self._ids(name)] if name in self._names else []

    def named_for(self, name: str, platform: Platform) -> Image | None:
        """The image that a name stands for on a platform."""
        known = self._names.get(name)
        facts = self._targets[known.target.digest].facts.get(platform) if known else None
        return self._images[facts.id] if facts and facts.id in self._ids(name) else None

    def put(self, record: Record, facts: Mapping[Platform, Facts]) -> None:
        """Note a record and (more of) what its target is; there must be something known of it."""
        known = _Name(record.target, record.labels.get(PINNED_LABEL) == PINNED)
        digest = record.target.digest
        target = self._targets.setdefault(digest, _Target())
        old = self._names.get(record.name)
        if old == known and facts.items() <= target.facts.items():
            return
        affected = self._affected(record.name)
        self._names[record.name] = known
        target.facts.update(facts)
        target.names.add(record.name)
        for image_id in target.ids:
            self._homes.setdefault(image_id, set()).add(digest)
        if old is not None and old.target.digest != digest:
            self._unlink(record.name, old)
        self._rebuild(affected | self._affected(record.name))

    def drop(self, name: str) -> None:
        """Note that a record is gone."""
        if name not in self._names:
            return
        affected = self._affected(name)
        self._unlink(name, self._names.pop(name))
        self._rebuild(affected)

    def _unlink(self, name: str, old: _Name) -> None:
        digest = old.target.digest
        target = self._targets[digest]
        target.names.discard(name)
        if target.names:
            return
        del self._targets[digest]
        for image_id in target.ids:
            self._homes[image_id].discard(digest)
            if not self._homes[image_id]:
                del self._homes[image_id]

    def _affected(self, name: str) -> set[str]:
        """The images that may change with a name: those of its target, and as an id's record those it speaks for."""
        digests = set(self._homes.get(name, ()))
        if name in self._names:
            digests.add(self._names[name].target.digest)
        return {image_id for digest in digests for image_id in self._targets[digest].ids}

    def _ids(self, name: str) -> list[str]:
        """The images that a name stands for; see the module's text."""
        facts = self._targets[self._names[name].target.digest].facts
        ranked = sorted(facts, key=lambda platform: self._ranks.get(platform, len(self._ranks)))
        ids = list(dict.fromkeys(facts[platform].id for platform in ranked))
        if name in ids:
            return [name]
        return [image_id for image_id in ids if image_id in self._names] or ids[:1]

    def _rebuild(self, image_ids: Iterable[str]) -> None:
        """Put images together again whose names have changed, or let them go."""
        for image_id in image_ids:
            pointing = [name for home in self._homes.get(image_id, ()) for name in self._targets[home].names]
            names = sorted(name for name in pointing if image_id in self._ids(name))
            if names:
                self._images[image_id] = self._image(image_id, names)
            else:
                self._images.pop(image_id, None)

    def _image(self, image_id: str, names: list[str]) -> Image:
        # One config can be in several manifests and indexes; the record of the id says which came last.
        target = self._names[image_id if image_id in names else names[-1]].target
        facts = next(facts for facts in self.facts(target.digest).values() if facts.id == image_id)
        chain = chain_ids(facts.config.diff_ids)
        return Image(
            id=image_id,
            names=tuple(names),
            repo_tags=tuple(filter(reference.is_repo_tag, names)),
            repo_digests=tuple(filter(reference.is_repo_digest, names)),
            size=facts.size,
            chain_id=chain[-1] if chain else "",
            config=facts.config,
            pinned=any(self._names[name].pinned for name in names) or is_pinned(names, self._pinned),
            target=target,
            manifest_digest=facts.manifest_digest,
        )
