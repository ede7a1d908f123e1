"""Images that a test needs on the node for a while."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from api.wire import criv1
from e2e.harness.push import push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cri.app.built_image import Image
    from e2e.harness.node import Node


@contextlib.asynccontextmanager
async def pulled(node: Node, name: str, image: Image) -> AsyncIterator[str]:
    """An image on the node within the block: pushed to the registry, pulled, removed after; its reference."""
    await push(node.registry, name, "1", image)
    spec = criv1.ImageSpec(image=f"{node.registry.host}/{name}:1")
    await node.cri.image.PullImage(criv1.PullImageRequest(image=spec))
    yield spec.image
    await node.cri.image.RemoveImage(criv1.RemoveImageRequest(image=spec))
