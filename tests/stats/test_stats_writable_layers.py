"""Writable layers: measured rarely, in the background, never waited for twice."""

from __future__ import annotations

import grpc

from api.containerd import Client
from cri.concurrency.supervision import Supervisor
from cri.stats.writable_layers import WritableLayers
from tests.double import ContainerdDouble

LAYER = ("overlayfs", "one")


async def settled(supervisor: Supervisor) -> None:
    for task in supervisor.tasks:
        await task


async def test_a_new_layer_is_measured_at_once_and_then_remembered(
    containerd: ContainerdDouble, client: Client
):
    async with Supervisor() as supervisor:
        await client.snapshots("overlayfs").prepare("one")
        layers = WritableLayers(client, supervisor, 60)
        first = await layers.usage([LAYER])
        assert set(first) == {LAYER}
        containerd.calls.clear()
        assert await layers.usage([LAYER]) == first
        assert containerd.methods() == [], "a result of a moment ago is good enough"


async def test_an_old_result_is_given_while_a_new_one_is_made(containerd: ContainerdDouble, client: Client):
    async with Supervisor() as supervisor:
        await client.snapshots("overlayfs").prepare("one")
        layers = WritableLayers(client, supervisor, 0)
        first = await layers.usage([LAYER])
        hang = containerd.hang("Snapshots.Usage")
        assert await layers.usage([LAYER]) == first
        await hang.reached.wait()
        hang.released.set()
        await settled(supervisor)
        assert (await layers.usage([LAYER]))[LAYER].at > first[LAYER].at
        await settled(supervisor)


async def test_a_layer_that_cannot_be_measured_is_left_out(containerd: ContainerdDouble, client: Client):
    async with Supervisor() as supervisor:
        await client.snapshots("overlayfs").prepare("one")
        layers = WritableLayers(client, supervisor, 60)
        containerd.fail("Snapshots.Usage", grpc.StatusCode.UNAVAILABLE)
        assert await layers.usage([LAYER, ("overlayfs", "gone")]) == {}
        assert set(await layers.usage([LAYER])) == {LAYER}
        layers.forget_all_but([])
        await settled(supervisor)


async def test_the_snapshotters_directory_is_asked_for_once(containerd: ContainerdDouble, client: Client):
    async with Supervisor() as supervisor:
        layers = WritableLayers(client, supervisor, 60)
        root = await layers.root("overlayfs")
        assert root.endswith("io.containerd.snapshotter.v1.overlayfs")
        containerd.calls.clear()
        assert await layers.root("overlayfs") == root
        assert containerd.methods() == []
