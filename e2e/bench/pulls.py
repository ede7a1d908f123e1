"""Measurements of image pulls from a registry on loopback. Each pull finds nothing of the image in the store."""

from __future__ import annotations

import asyncio

from api.wire import criv1
from cri.app.built_image import Image
from e2e.bench import operation as op
from e2e.bench.contender import Contender
from e2e.harness.catalogue import layered, scratch
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.registry import Registry

LARGE_LAYERS = 10
SMALL_IMAGES = 20
PARALLEL = 5


async def shelve(shelf: Registry, layer_bytes: int) -> None:
    """Push the images that are pulled here."""
    large: Image = await asyncio.to_thread(layered, LARGE_LAYERS, layer_bytes)
    await push(shelf, "bench/large", "1", large)
    for number in range(SMALL_IMAGES):
        await push(shelf, f"bench/small-{number}", "1", scratch(b"%d" % number * 1000))


async def one_large(contender: Contender, shelf: Registry) -> None:
    """An image of ten layers."""
    reference = f"{shelf.host}/bench/large:1"
    async with contender.timed(op.PULL_LARGE):
        await _pull(contender, reference)
    await _forget(contender, [reference])


async def one_small(contender: Contender, shelf: Registry) -> None:
    """An image of one small layer."""
    reference = f"{shelf.host}/bench/small-0:1"
    async with contender.timed(op.PULL_SMALL):
        await _pull(contender, reference)
    await _forget(contender, [reference])


async def many_small(contender: Contender, shelf: Registry) -> None:
    """Twenty images, five at a time."""
    references = [f"{shelf.host}/bench/small-{number}:1" for number in range(SMALL_IMAGES)]
    gate = asyncio.Semaphore(PARALLEL)

    async def one(reference: str) -> None:
        async with gate:
            await _pull(contender, reference)

    async with contender.timed(op.PULL_MANY):
        await asyncio.gather(*(one(reference) for reference in references))
    await _forget(contender, references)


async def _pull(contender: Contender, reference: str) -> None:
    await contender.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))


async def _forget(contender: Contender, references: list[str]) -> None:
    for reference in references:
        await contender.image.RemoveImage(criv1.RemoveImageRequest(image=criv1.ImageSpec(image=reference)))
    await collect_garbage(contender.node.containerd.address)
