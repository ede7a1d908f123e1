"""A pull cut off at every place where it waits: what it was is either wholly there or leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from cri.image.store import ImageStore
from tests.await_points import Life, begin, points_of, watching
from tests.double import ContainerdDouble
from tests.image.made_images import TestImage, image_of
from tests.image.scripted_registry import ScriptedRegistry

pytestmark = pytest.mark.timeout(300)

VISITS = (1, 2, 3)
"""A place in our code may wait several times below, for a request to be sent and for its answer."""


async def cut_off(work: Callable[[], object], point: str, visit: int) -> None:
    """Cancel the work when it comes by `point` for the `visit`-th time, and wait for its end."""
    life = Life(target=point)
    left = visit

    def strike() -> None:
        nonlocal left
        left -= 1
        if left:
            life.strike = strike
        else:
            asyncio.get_running_loop().call_soon(task.cancel)

    life.strike = strike
    task = begin(life, work())  # type: ignore[arg-type]
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def forgotten(store: ImageStore, containerd: ContainerdDouble, image: TestImage) -> None:
    """Remove the image and see that nothing of it is left."""
    await store.remove(image.config.digest)
    containerd.collect_garbage()
    assert not containerd.leftovers(), containerd.leftovers()


async def test_a_pull_may_be_cut_off_anywhere(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one", b"two")
    reference = registry.add("app", "v1", image)
    async with watching():
        points = await points_of(lambda: store.pull(reference))
        await forgotten(store, containerd, image)
        assert len(points) > 20, "the points are found"
        for point in points:
            for visit in VISITS:
                await cut_off(lambda: store.pull(reference), point, visit)
                where = f"cut off at visit {visit} of {point}"
                left = containerd.leftovers()
                assert not left.leases, f"{where}: leases are left: {left.leases}"
                assert not left.ingests, f"{where}: ingests are left: {left.ingests}"
                assert len(left.images) in (0, 3), f"{where}: some of the names: {left.images}"
                await forgotten(store, containerd, image)
        assert await store.pull(reference) == image.config.digest
