"""The image service as tests call it: one function a call, and a fixture that removes what a test has pulled."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.cri import Cri


async def pull(cri: Cri, reference: str, auth: criv1.AuthConfig | None = None) -> str:
    """Pull; the image id."""
    request = criv1.PullImageRequest(image=criv1.ImageSpec(image=reference), auth=auth)
    return (await cri.image.PullImage(request)).image_ref


async def known(cri: Cri, reference: str) -> criv1.Image | None:
    """What ImageStatus says; None of an unknown image."""
    request = criv1.ImageStatusRequest(image=criv1.ImageSpec(image=reference))
    answer = await cri.image.ImageStatus(request)
    return answer.image if answer.HasField("image") else None


async def present(cri: Cri, reference: str) -> criv1.Image:
    """What ImageStatus says of an image that must be known."""
    image = await known(cri, reference)
    assert image is not None, f"{reference} is unknown"
    return image


async def listed(cri: Cri, reference: str = "") -> list[criv1.Image]:
    """ListImages, all or by the filter."""
    filters = criv1.ImageFilter(image=criv1.ImageSpec(image=reference)) if reference else None
    return list((await cri.image.ListImages(criv1.ListImagesRequest(filter=filters))).images)


async def remove(cri: Cri, reference: str) -> None:
    """RemoveImage."""
    await cri.image.RemoveImage(criv1.RemoveImageRequest(image=criv1.ImageSpec(image=reference)))


@contextlib.asynccontextmanager
async def new_images_removed(cri: Cri) -> AsyncIterator[None]:
    """Remove what the block has pulled."""
    before = {image.id for image in await listed(cri)}
    yield
    for image in await listed(cri):
        if image.id not in before:
            await remove(cri, image.id)
