"""Image records."""

from __future__ import annotations

import re
from collections.abc import Callable

from google.protobuf import empty_pb2

from api.wire.containerd import images_pb2, images_pb2_grpc
from tests.double.calls import Context, caller
from tests.double.exchange import Exchange
from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import already_exists, found, invalid_argument
from tests.double.state import State, now, stored_labels, timestamp, update_labels

DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class ImagesService(images_pb2_grpc.ImagesServicer):
    """containerd.services.images.v1.Images"""

    def __init__(self, state: State, exchange: Exchange, collect: Callable[[], object]) -> None:
        """`collect` runs the garbage collector, for synchronous deletions."""
        self._state = state
        self._exchange = exchange
        self._collect = collect

    async def Get(self, request: images_pb2.GetImageRequest, context: Context) -> images_pb2.GetImageResponse:
        return images_pb2.GetImageResponse(image=self._find(request.name))

    async def List(
        self, request: images_pb2.ListImagesRequest, context: Context
    ) -> images_pb2.ListImagesResponse:
        matches = compile_filters(request.filters)
        images = self._state.namespace(caller().namespace).images
        return images_pb2.ListImagesResponse(
            images=[image for _, image in sorted(images.items()) if matches(lookup_in(_fields(image)))]
        )

    async def Create(
        self, request: images_pb2.CreateImageRequest, context: Context
    ) -> images_pb2.CreateImageResponse:
        namespace = self._state.namespace(caller().namespace)
        image = images_pb2.Image()
        image.CopyFrom(request.image)
        _validate(image)
        if image.name in namespace.images:
            raise already_exists(f'image "{image.name}"')
        labels = stored_labels(image.labels, "image.Labels")
        image.labels.clear()
        image.labels.update(labels)
        image.created_at.CopyFrom(timestamp(now()))
        image.updated_at.CopyFrom(image.created_at)
        namespace.images[image.name] = image
        self._exchange.publish(
            namespace.name,
            "/images/create",
            images_pb2.ImageCreate(name=image.name, labels=image.labels),
        )
        return images_pb2.CreateImageResponse(image=image)

    async def Update(
        self, request: images_pb2.UpdateImageRequest, context: Context
    ) -> images_pb2.UpdateImageResponse:
        wanted = request.image
        namespace = self._state.namespace(caller().namespace)
        image = images_pb2.Image()
        image.CopyFrom(self._find(wanted.name))
        paths = list(request.update_mask.paths) or ["labels", "target"]
        for path in update_labels(image.labels, wanted.labels, paths, "image.Labels"):
            _update_field(image, wanted, path)
        _validate(image)
        image.updated_at.CopyFrom(timestamp(now()))
        namespace.images[image.name] = image
        self._exchange.publish(
            namespace.name,
            "/images/update",
            images_pb2.ImageUpdate(name=image.name, labels=image.labels),
        )
        return images_pb2.UpdateImageResponse(image=image)

    async def Delete(self, request: images_pb2.DeleteImageRequest, context: Context) -> empty_pb2.Empty:
        namespace = self._state.namespace(caller().namespace)
        self._find(request.name)
        del namespace.images[request.name]
        self._exchange.publish(namespace.name, "/images/delete", images_pb2.ImageDelete(name=request.name))
        if request.sync:
            self._collect()
        return empty_pb2.Empty()

    def _find(self, name: str) -> images_pb2.Image:
        return found(self._state.namespace(caller().namespace).images.get(name), f'image "{name}"')


def _fields(image: images_pb2.Image) -> dict[str, str | dict[str, str]]:
    return {
        "name": image.name,
        "target.digest": image.target.digest,
        "target.mediatype": image.target.media_type,
        "labels": dict(image.labels),
        "annotations": dict(image.target.annotations),
    }


def _update_field(image: images_pb2.Image, wanted: images_pb2.Image, path: str) -> None:
    if path == "target":
        image.target.CopyFrom(wanted.target)
    elif path == "annotations":
        image.target.annotations.clear()
        image.target.annotations.update(wanted.target.annotations)
    elif path.startswith("annotations."):
        key = path.removeprefix("annotations.")
        image.target.annotations[key] = wanted.target.annotations.get(key, "")
    else:
        raise invalid_argument(f'cannot update "{path}" field on image "{image.name}"')


def _validate(image: images_pb2.Image) -> None:
    if not image.name:
        raise invalid_argument("image name must not be empty")
    if not DIGEST.fullmatch(image.target.digest):
        raise invalid_argument(f'Target.Digest "{image.target.digest}" invalid')
    if image.target.size <= 0:
        raise invalid_argument("Target.Size must be greater than zero")
    if not image.target.media_type:
        raise invalid_argument("Target.MediaType must be set")
