"""From a name's target down to manifest and config: which documents make up an image on this machine's platform.

The same walk serves a pull, which gets documents from the registry where the content store has none, and the
index, which only reads what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from cri.errors import FailedPrecondition, NotFound
from cri.image.manifest import Index, Manifest, is_index, parse_document
from cri.image.platform import Platform, normalised, runnable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.containerd import Descriptor
    from cri.image.manifest import BlobDescriptor

DEEPEST: Final = 4
"""Indexes inside of indexes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One document on the way: an index, of which entry `chosen` was taken, or the manifest at the end."""

    target: Descriptor
    body: bytes
    chosen: int = -1
    child: str = ""
    """The digest of the entry taken."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The documents from a name's target to the manifest, in this order."""

    steps: tuple[Step, ...]
    manifest: Manifest

    @property
    def target(self) -> Descriptor:
        """What the name stands for."""
        return self.steps[0].target

    @property
    def manifest_digest(self) -> str:
        """The digest of the manifest itself."""
        return self.steps[-1].target.digest

    @property
    def size(self) -> int:
        """Compressed bytes of the image for this platform, documents included."""
        return self.manifest.size + sum(len(step.body) for step in self.steps)


class DocumentSource(Protocol):
    """Where documents come from."""

    async def document(self, descriptor: Descriptor) -> bytes:
        """The body of a manifest or index. Raises CriError or ContainerdError."""


async def walk(source: DocumentSource, target: Descriptor, platform: Platform, name: str) -> Walk:
    """Follow `target` to the manifest for `platform`; `name` is for messages.

    Raises NotFound (no manifest for the platform), FailedPrecondition, Unimplemented, what `source` raises.
    """
    steps: list[Step] = []
    while len(steps) < DEEPEST:
        body = await source.document(target)
        _, document = parse_document(body, target.media_type, name)
        if isinstance(document, Manifest):
            return Walk((*steps, Step(target, body)), document)
        entry = _best(document, platform, name)
        steps.append(Step(target, body, document.manifests.index(entry), entry.digest))
        target = entry.target
    raise FailedPrecondition(f"{name}: more than {DEEPEST} indexes inside of one another")


def _best(index: Index, platform: Platform, name: str) -> BlobDescriptor:
    candidates = choose(index.manifests, platform)
    if candidates:
        return candidates[0]
    found = [str(entry.platform.value) for entry in index.manifests if entry.platform is not None]
    available = ", ".join(dict.fromkeys(kind for kind in found if "unknown" not in kind)) or "none"
    raise NotFound(f"{name}: no image for platform {platform}; the index has {available}")


def choose(manifests: Sequence[BlobDescriptor], host: Platform) -> list[BlobDescriptor]:
    """The entries of an index that run on `host`, best first; those that name no platform come last."""
    rank = {platform: position for position, platform in enumerate(runnable(host))}
    ranked = []
    for entry in manifests:
        if entry.platform is None:
            ranked.append((len(rank), entry))
        elif (platform := normalised(entry.platform.value)) in rank:
            ranked.append((rank[platform], entry))
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]


def gc_labels(step: Step, manifest: Manifest, *, keep_layers: bool) -> dict[str, str]:
    """The labels by which a stored document keeps what it names from containerd's garbage collector.

    Without `keep_layers` the layers' blobs may go once they are unpacked.
    """
    if step.chosen >= 0:
        return {f"containerd.io/gc.ref.content.m.{step.chosen}": step.child}
    labels = {"containerd.io/gc.ref.content.config": manifest.config.digest}
    if keep_layers:
        for position, layer in enumerate(manifest.layers):
            labels[f"containerd.io/gc.ref.content.l.{position}"] = layer.digest
    return labels


def ref_prefix(target: Descriptor) -> str:
    """What the name of a document's ingest begins with, as other clients call it."""
    return "index" if is_index(target.media_type) else "manifest"
