"""What takes the disk: images, their layers, the snapshots of the layers, the containers on top. Pure.

A layer is shared by every image whose chain of snapshots it is in. An image's removal frees the layers that no other
image and no container is built on; what a lease holds is freed when the lease ends.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """One snapshot."""

    key: str
    parent: str
    size: int
    """Bytes of its own."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image."""

    id: str
    names: tuple[str, ...]
    packed: int
    """Bytes of its compressed blobs."""
    chain_id: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container or sandbox; its snapshot has its id."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class LayerLine:
    """One layer of an image."""

    chain_id: str
    size: int
    images: int
    """How many images have it."""


@dataclass(frozen=True, slots=True)
class ContainerLine:
    """What a container has written."""

    id: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class ImageLine:
    """One image with all that is on top of it."""

    id: str
    names: tuple[str, ...]
    pinned: bool
    packed: int
    size: int
    """Bytes of all its layers, unpacked."""
    freed: int
    """Bytes of layers that its removal would free."""
    layers: tuple[LayerLine, ...]
    containers: tuple[ContainerLine, ...]


@dataclass(frozen=True, slots=True)
class DiskReport:
    """The whole node."""

    images: tuple[ImageLine, ...]
    strays: tuple[SnapshotFacts, ...]
    """Snapshots below no image and no container: of other clients, of a pull under way, or garbage."""
    total: int


def disk_report(
    images: Iterable[ImageFacts],
    snapshots: Mapping[str, SnapshotFacts],
    containers: Sequence[ContainerFacts],
) -> DiskReport:
    """Put together who holds what."""
    images = sorted(images, key=lambda image: image.names or (image.id,))
    chains = {image.id: _chain(image.chain_id, snapshots) for image in images}
    users: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        for layer in chains[image.id]:
            users[layer].add(image.id)
    for container in containers:
        for layer in _chain(container.id, snapshots)[1:]:
            users[layer].add(container.id)
    lines = tuple(_image_line(image, chains[image.id], snapshots, users, containers) for image in images)
    held = set(users) | {container.id for container in containers}
    strays = tuple(snapshot for key, snapshot in sorted(snapshots.items()) if key not in held)
    return DiskReport(lines, strays, sum(snapshot.size for snapshot in snapshots.values()))


def _image_line(
    image: ImageFacts,
    chain: Sequence[str],
    snapshots: Mapping[str, SnapshotFacts],
    users: Mapping[str, set[str]],
    containers: Sequence[ContainerFacts],
) -> ImageLine:
    ids = {container.id for container in containers}
    layers = tuple(LayerLine(layer, snapshots[layer].size, len(users[layer] - ids)) for layer in chain)
    freed = sum(snapshots[layer].size for layer in chain if users[layer] == {image.id})
    on_top = tuple(
        ContainerLine(container.id, container.name, snapshots[container.id].size)
        for container in containers
        if container.id in snapshots and snapshots[container.id].parent == image.chain_id
    )
    size = sum(layer.size for layer in layers)
    return ImageLine(image.id, image.names, image.pinned, image.packed, size, freed, layers, on_top)


def _chain(key: str, snapshots: Mapping[str, SnapshotFacts]) -> list[str]:
    """The snapshot and everything below it, from the top."""
    chain = []
    while key and key in snapshots and key not in chain:
        chain.append(key)
        key = snapshots[key].parent
    return chain
