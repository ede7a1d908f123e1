"""Using an image's snapshot without asking first whether it is there.

Nearly always it is, so asking would cost every container a call. Only when the use fails for want of the snapshot (an
image that another client imported, or unpacked for another snapshotter) is the image unpacked and the use repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from api.containerd import errors as containerd_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cri.container.engine import Engine
    from cri.image.image import Image

T = TypeVar("T")


async def with_unpacked(
    engine: Engine, image: Image, snapshotter: str, use: Callable[[str], Awaitable[T]]
) -> T:
    """Call `use` with the chain ID of the image's top layer, after unpacking it if it turns out to be missing."""
    try:
        return await use(image.chain_id)
    except containerd_errors.NotFound:
        return await use(await engine.images.unpacked(image, snapshotter))
