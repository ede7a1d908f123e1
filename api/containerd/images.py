"""Images: the records that give content a name and keep it from the garbage collector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from api.containerd import descriptors, times
from api.containerd.calls import Link, Unary
from api.wire.containerd import images_pb2, images_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd.descriptors import Descriptor


@dataclass(frozen=True, slots=True)
class Image:
    """An image record."""

    name: str
    """A normalised reference ("docker.io/library/busybox:1.36"), or whatever the client names it by."""
    target: Descriptor
    """The index or manifest that the name stands for."""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    """Unix nanoseconds, set by containerd."""
    updated_at: int = 0
    """Unix nanoseconds, set by containerd."""


class Images:
    """The image records of one namespace."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(images_pb2_grpc.ImagesStub)
        self._get = Unary(link, stub.Get, "Images", "Get")
        self._list = Unary(link, stub.List, "Images", "List")
        self._create = Unary(link, stub.Create, "Images", "Create")
        self._update = Unary(link, stub.Update, "Images", "Update")
        self._delete = Unary(link, stub.Delete, "Images", "Delete")

    async def get(self, name: str, *, timeout: float | None = None) -> Image:
        """Raises NotFound."""
        return _from_wire((await self._get(images_pb2.GetImageRequest(name=name), timeout)).image)

    async def list(self, *filters: str, timeout: float | None = None) -> list[Image]:
        """The records that match any of the filters (`name==...`, `target.digest==...`)."""
        answer = await self._list(images_pb2.ListImagesRequest(filters=filters), timeout)
        return [_from_wire(image) for image in answer.images]

    async def create(self, image: Image, *, timeout: float | None = None) -> Image:
        """Write a new record. Raises AlreadyExists, InvalidArgument."""
        request = images_pb2.CreateImageRequest(image=_to_wire(image))
        return _from_wire((await self._create(request, timeout)).image)

    async def update(self, image: Image, *paths: str, timeout: float | None = None) -> Image:
        """Change the fields named by `paths` ("target", "labels", "labels.KEY"); without paths all.

        Raises NotFound.
        """
        request = images_pb2.UpdateImageRequest(
            image=_to_wire(image),
            update_mask=field_mask_pb2.FieldMask(paths=paths) if paths else None,
        )
        return _from_wire((await self._update(request, timeout)).image)

    async def delete(self, name: str, *, sync: bool = False, timeout: float | None = None) -> None:
        """Remove the record. With `sync` the answer comes after a garbage collection. Raises NotFound."""
        await self._delete(images_pb2.DeleteImageRequest(name=name, sync=sync), timeout)


def _to_wire(image: Image) -> images_pb2.Image:
    return images_pb2.Image(
        name=image.name,
        labels=image.labels,
        target=descriptors.to_wire(image.target),
        created_at=times.to_wire(image.created_at),
        updated_at=times.to_wire(image.updated_at),
    )


def _from_wire(image: images_pb2.Image) -> Image:
    return Image(
        name=image.name,
        target=descriptors.from_wire(image.target),
        labels=dict(image.labels),
        created_at=times.from_wire(image.created_at),
        updated_at=times.from_wire(image.updated_at),
    )
