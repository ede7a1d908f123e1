"""The double's garbage collector keeps what containerd keeps and takes what containerd takes."""

from __future__ import annotations

import hashlib

from api.containerd import (
    SPEC_TYPE_URL,
    Client,
    Container,
    Descriptor,
    Image,
    LeaseResource,
    TypedValue,
)
from tests.double import ContainerdDouble

SPEC = TypedValue.json(SPEC_TYPE_URL, {})


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def put(client: Client, data: bytes, labels: dict[str, str] | None = None) -> str:
    return await client.content.put(f"ref-{digest_of(data)}", data, labels=labels)


async def test_an_image_keeps_its_whole_tree(client: Client, containerd: ContainerdDouble) -> None:
    snapshots = client.snapshots("overlayfs")
    await snapshots.prepare("k1")
    await snapshots.commit("layer1", "k1")
    await snapshots.prepare("k2", "layer1")
    await snapshots.commit("layer2", "k2")
    layer = await put(client, b"layer")
    config = await put(client, b"config", {"containerd.io/gc.ref.snapshot.overlayfs": "layer2"})
    manifest = await put(
        client,
        b"manifest",
        {"containerd.io/gc.ref.content.config": config, "containerd.io/gc.ref.content.l.0": layer},
    )
    await client.images.create(Image("image", Descriptor("application/x", manifest, 8)))
    assert containerd.collect_garbage() == [], "all of it hangs on the image"
    await client.images.delete("image", sync=True)
    assert not containerd.leftovers(), "nothing holds it any more, and the deletion was synchronous"


async def test_a_container_keeps_its_snapshot_and_that_its_parents(
    client: Client, containerd: ContainerdDouble
) -> None:
    snapshots = client.snapshots("overlayfs")
    await snapshots.prepare("k")
    await snapshots.commit("base", "k")
    await snapshots.prepare("rw", "base")
    await snapshots.prepare("stray", "base")
    await client.containers.create(
        Container("c", runtime="r", spec=SPEC, snapshotter="overlayfs", snapshot_key="rw")
    )
    assert containerd.collect_garbage() == ["k8s.io snapshots/overlayfs stray"]
    await client.containers.delete("c")
    containerd.collect_garbage()
    assert not containerd.leftovers()


async def test_a_lease_keeps_what_is_made_under_it(client: Client, containerd: ContainerdDouble) -> None:
    async with client.leases.hold() as held:
        await put(held, b"content")
        await held.snapshots("overlayfs").prepare("s")
        async with held.content.writer("begun") as writer:
            await writer.write(b"abc")
        await put(client, b"outside")
        assert containerd.collect_garbage() == [f"k8s.io content {digest_of(b'outside')}"]
    containerd.collect_garbage()
    assert not containerd.leftovers()


async def test_an_ingest_without_a_lease_stays_for_a_day(
    client: Client, containerd: ContainerdDouble
) -> None:
    async with client.content.writer("begun") as writer:
        await writer.write(b"abc")
    assert containerd.collect_garbage() == []
    containerd.state.namespace("k8s.io").ingests["begun"].started_at -= 25 * 3600 * 10**9
    assert containerd.collect_garbage() == ["k8s.io ingests begun"]


async def test_an_expired_lease_keeps_nothing(client: Client, containerd: ContainerdDouble) -> None:
    await client.leases.create("old", {"containerd.io/gc.expire": "2001-01-01T00:00:00Z"})
    await put(client.under("old"), b"content")
    assert sorted(containerd.collect_garbage()) == [
        f"k8s.io content {digest_of(b'content')}",
        "k8s.io leases old",
    ]


async def test_a_flat_lease_keeps_no_more_than_it_names(client: Client, containerd: ContainerdDouble) -> None:
    child = await put(client, b"child")
    parent = await put(client, b"parent", {"containerd.io/gc.ref.content.0": child})
    await client.leases.create("flat", {"containerd.io/gc.flat": "1"})
    await client.leases.add("flat", LeaseResource("content", parent))
    assert containerd.collect_garbage() == [f"k8s.io content {child}"]


async def test_roots_stay(client: Client, containerd: ContainerdDouble) -> None:
    await put(client, b"root", {"containerd.io/gc.root": "2020-01-01"})
    await client.snapshots("overlayfs").prepare("root", labels={"containerd.io/gc.root": "2020-01-01"})
    assert containerd.collect_garbage() == []


async def test_eager_collection_takes_at_once_what_nothing_holds(
    client: Client, containerd: ContainerdDouble
) -> None:
    containerd.eager_collection = True
    await put(client, b"content")
    assert not containerd.leftovers()
    async with client.leases.hold() as held:
        await put(held, b"content")
        assert containerd.leftovers().content == (digest_of(b"content"),)
