"""The ImageService servicer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from api.wire.criv1 import image_service_pb2
from cri.errors import InvalidArgument
from cri.image import messages
from cri.services.rpc import rpc
from cri.services.streaming_rpc import list_stream, message_bytes, pieces
from cri.services.unimplemented import answer_unimplemented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cri.services.collaborators import Collaborators


class ImageService:
    """`runtime.v1.ImageService`."""

    def __init__(self, on: Collaborators) -> None:
        self.on = on
        self._images = on.engine.images

    @rpc
    async def ListImages(self, request: criv1.ListImagesRequest) -> criv1.ListImagesResponse:
        return criv1.ListImagesResponse(images=self._listed(request.filter))

    @list_stream
    async def StreamImages(
        self, request: criv1.StreamImagesRequest
    ) -> AsyncIterator[criv1.StreamImagesResponse]:
        for piece in pieces(self._listed(request.filter), message_bytes):
            yield criv1.StreamImagesResponse(images=piece)

    @rpc
    async def ImageStatus(self, request: criv1.ImageStatusRequest) -> criv1.ImageStatusResponse:
        handler = self.on.engine.handlers.get_or_default(request.image.runtime_handler)
        image = self._images.find(_named(request.image), handler.platform)
        if image is None:  # CRI: an unknown image is an empty response, not an error
            return criv1.ImageStatusResponse()
        info = messages.verbose_info(image, self._images.report_of(image)) if request.verbose else {}
        return criv1.ImageStatusResponse(image=messages.image_message(image), info=info)

    @rpc
    async def PullImage(self, request: criv1.PullImageRequest) -> criv1.PullImageResponse:
        auth = request.auth if request.HasField("auth") else None
        handler = self.on.engine.handlers.get(request.image.runtime_handler)
        image_id = await self._images.pull(
            _named(request.image), auth, snapshotter=handler.snapshotter, platform=handler.platform
        )
        return criv1.PullImageResponse(image_ref=image_id)

    @rpc
    async def RemoveImage(self, request: criv1.RemoveImageRequest) -> criv1.RemoveImageResponse:
        await self._images.remove(_named(request.image))
        return criv1.RemoveImageResponse()

    @rpc
    async def ImageFsInfo(self, request: criv1.ImageFsInfoRequest) -> criv1.ImageFsInfoResponse:
        usages = [messages.filesystem_message(usage) for usage in await self._images.filesystem()]
        return criv1.ImageFsInfoResponse(image_filesystems=usages, container_filesystems=usages)

    def _listed(self, wanted: criv1.ImageFilter) -> list[criv1.Image]:
        return [messages.image_message(image) for image in self._images.list(wanted.image.image)]


def _named(image: criv1.ImageSpec) -> str:
    if not image.image:
        raise InvalidArgument("image.image is empty: name an image by reference or id")
    return image.image


answer_unimplemented(image_service_pb2.DESCRIPTOR.services_by_name["ImageService"], ImageService)
