"""A containerd on a small disk of its own: what ImageFsInfo says beside df, and a disk that is full."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from cri.app.built_image import Entry, Settings, image_of, layer_of
from cri.app.host_images import host_architecture
from e2e.harness.catalogue import layered
from e2e.harness.configured import configured
from e2e.harness.eventually import eventually
from e2e.harness.image_service import known, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.neighbours import output_of
from e2e.harness.node import CRI_SHIM, assemble, short_directory
from e2e.harness.push import push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node

pytestmark = pytest.mark.cri_shim_only

DISK = 96 << 20
TOLERANCE = 0.05
FILES = 1000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small(node: Node) -> AsyncIterator[Node]:
    """A second node, whose containerd has its root on a tmpfs."""
    home = short_directory("e2e-small")
    root = home / "node" / "containerd"
    root.mkdir(parents=True)
    await output_of("mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", root)
    try:
        async with contextlib.AsyncExitStack() as stack:
            running = await assemble(stack, CRI_SHIM, home, node.registry)
            await stack.enter_async_context(configured(running, keys="stats_collect_period = 1\n"))
            yield running
    finally:
        if root.is_mount():  # an embedded containerd that ends unmounts what is below its directory
            await output_of("umount", root)
        shutil.rmtree(home)


def on_disk(node: Node) -> tuple[int, int]:
    """Bytes and inodes that df calls used."""
    state = os.statvfs(node.containerd.layout.root)
    return (state.f_blocks - state.f_bfree) * state.f_frsize, state.f_files - state.f_ffree


async def told(node: Node) -> tuple[int, int]:
    """The same as ImageFsInfo has it."""
    answer = await node.cri.image.ImageFsInfo(criv1.ImageFsInfoRequest())
    [usage] = answer.image_filesystems
    assert [entry.fs_id for entry in answer.container_filesystems] == [usage.fs_id]
    return usage.used_bytes.value, usage.inodes_used.value


def near(one: int, other: int) -> bool:
    return abs(one - other) <= TOLERANCE * other


async def test_the_image_file_system_is_true_to_df(small: Node) -> None:
    files = layer_of([Entry(f"file-{number}", b"x", mode=0o644) for number in range(FILES)])
    image = image_of([*layered(4, 6_000_000, seed=3).layers, files], Settings(), host_architecture())
    await push(small.registry, "t/disk", "1", image)
    reference = f"{small.registry.host}/t/disk:1"
    before, inodes_before = on_disk(small)
    _, told_before = await told(small)
    await pull(small.cri, reference)
    await collect_garbage(small.containerd.address)
    used, inodes = on_disk(small)
    assert used - before > 40_000_000, "blobs and snapshots are on this disk"
    await eventually(lambda: told(small), lambda seen: near(seen[0], used), f"used bytes near {used}", 30)
    # The difference, because tmpfs counts each of busybox's hard links as an inode, which no disk does.
    added, told_added = inodes - inodes_before, (await told(small))[1] - told_before
    assert added > FILES
    assert near(told_added, added), f"{told_added} inodes more are told, df says {added}"
    await remove(small.cri, reference)
    await collect_garbage(small.containerd.address)
    assert on_disk(small)[0] - before < 1_000_000, "the space is given back"


async def test_a_full_disk_is_an_error_and_gives_the_space_back(small: Node) -> None:
    await collect_garbage(small.containerd.address)
    before, _ = on_disk(small)
    await push(small.registry, "t/full", "1", layered(4, 30_000_000, seed=5))
    await push(small.registry, "t/fits", "1", layered(2, 1_000_000, seed=6))
    reference = f"{small.registry.host}/t/full:1"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(small.cri, reference)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "disk is full" in str(refused.value.details())
    assert await known(small.cri, reference) is None
    await collect_garbage(small.containerd.address)
    assert on_disk(small)[0] - before < 1_000_000, "the space is given back"
    fitting = f"{small.registry.host}/t/fits:1"
    await pull(small.cri, fitting)
    await remove(small.cri, fitting)
