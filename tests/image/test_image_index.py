"""The index: what other clients do to images is followed, and every look-up is answered from memory."""

from __future__ import annotations

import asyncio

import pytest

from api.containerd import Client, Descriptor
from api.containerd import Image as Record
from cri.concurrency.supervision import Supervisor
from cri.errors import FailedPrecondition, InvalidArgument
from cri.image.store import ImageStore
from tests.double import ContainerdDouble
from tests.image.conftest import MakeStore
from tests.image.made_images import Blob, TestImage, image_of, index_of
from tests.image.scripted_registry import ScriptedRegistry


async def imported(client: Client, image: TestImage, *names: str, labels: bool = True) -> None:
    """What `ctr images import` does: content with labels, a record for each name."""
    gc = {"containerd.io/gc.ref.content.config": image.config.digest}
    gc |= {f"containerd.io/gc.ref.content.l.{i}": layer.digest for i, layer in enumerate(image.layers)}
    async with client.leases.hold() as leased:
        for blob in (image.config, *image.layers):
            await leased.content.put(f"x-{blob.digest}", blob.data, expected=blob.digest)
        manifest = image.manifest
        await leased.content.put(
            "manifest", manifest.data, expected=manifest.digest, labels=gc if labels else {}
        )
        for name in names:
            target = Descriptor(manifest.media_type, manifest.digest, len(manifest.data))
            await leased.images.create(Record(name, target))


async def test_an_import_appears_and_disappears(store: ImageStore, client: Client) -> None:
    image = image_of(b"one")
    name = "docker.io/library/app:v1"
    await imported(client, image, name)
    await store.on_image_event("/images/create", name)
    found = store.find("app:v1")
    assert found is not None
    assert (found.id, found.names, found.repo_digests) == (image.config.digest, (name,), ())
    await client.images.delete(name)
    await store.on_image_event("/images/delete", name)
    assert store.list() == []


async def test_an_import_is_unpacked_on_first_use(
    store: ImageStore, client: Client, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one", b"two")
    await imported(client, image, "docker.io/library/app:v1")
    await store.load()
    found = store.find("app:v1")
    assert found is not None
    assert containerd.leftovers().snapshots == ()
    assert await store.unpacked(found, "overlayfs") == found.chain_id
    assert containerd.collect_garbage() == [], "the image holds its snapshots"
    assert len(containerd.leftovers().snapshots) == 2
    containerd.calls.clear()
    await store.unpacked(found, "overlayfs")
    assert containerd.methods() == ["Snapshots.Stat"], "later uses cost one call"


async def test_an_import_without_its_layers_cannot_be_unpacked(
    store: ImageStore, client: Client, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one")
    await imported(client, image, "docker.io/library/app:v1")
    await client.content.delete(image.layers[0].digest)
    await store.load()
    found = store.find("app:v1")
    assert found is not None
    with pytest.raises(
        FailedPrecondition, match=f"{image.layers[0].digest} is not in containerd.*pull it again"
    ):
        await store.unpacked(found, "overlayfs")
    assert not containerd.leftovers().leases


async def test_ensure_takes_the_local_image_or_pulls(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    reference = registry.add("pause", "3", image_of(b"pause"))
    first = await store.ensure(reference)
    registry.asked.clear()
    containerd.calls.clear()
    assert await store.ensure(reference) == first
    assert registry.asked == []
    assert containerd.methods() == ["Snapshots.Stat"]


async def test_ensure_pulls_again_what_is_incomplete(
    registry: ScriptedRegistry, store: ImageStore, client: Client
) -> None:
    image = image_of(b"pause")
    name = registry.add("pause", "3", image)
    await imported(client, image, name)
    await client.content.delete(image.layers[0].digest)
    await store.load()
    found = await store.ensure(name)
    assert found.id == image.config.digest
    assert (await client.snapshots("overlayfs").stat(found.chain_id)).name == found.chain_id


async def test_one_bad_record_does_not_hide_the_others(make_store: MakeStore, client: Client) -> None:
    await imported(client, image_of(b"good"), "docker.io/library/good:1")
    bad = Blob("application/json", b"[1, 2")
    await client.content.put("bad", bad.data)
    await client.images.create(Record("docker.io/library/bad:1", Descriptor("x", bad.digest, 5)))
    gone = Descriptor("application/vnd.oci.image.manifest.v1+json", "sha256:" + "0" * 64, 5)
    await client.images.create(Record("docker.io/library/gone:1", gone))
    store = await make_store()
    assert [image.repo_tags for image in store.list()] == [("docker.io/library/good:1",)]


async def test_an_index_with_only_other_platforms_is_left_out(make_store: MakeStore, client: Client) -> None:
    image = image_of(b"one", architecture="s390x")
    index = index_of((image, {"os": "linux", "architecture": "s390x"}))
    await client.content.put("index", index.data)
    target = Descriptor(index.media_type, index.digest, len(index.data))
    await client.images.create(Record("docker.io/library/far:1", target))
    assert (await make_store()).list() == []


async def test_a_new_server_knows_what_the_old_one_knew(
    make_store: MakeStore, registry: ScriptedRegistry
) -> None:
    store = await make_store()
    for number in range(3):
        await store.pull(registry.add(f"app{number}", "v1", image_of(b"base", str(number).encode())))
    assert (await make_store()).list() == store.list()


async def test_a_short_id_that_fits_two_images_is_refused(store: ImageStore, client: Client) -> None:
    seen: dict[str, TestImage] = {}
    for number in range(2000):
        image = image_of(execution={"Env": [f"N={number}"]})
        prefix = image.config.digest[:11]
        if prefix in seen:
            await imported(client, image, "docker.io/library/a:1")
            await imported(client, seen[prefix], "docker.io/library/b:1")
            await store.load()
            with pytest.raises(InvalidArgument, match="ambiguous"):
                store.find(prefix.removeprefix("sha256:"))
            return
        seen[prefix] = image
    pytest.fail("no two ids with four equal digits in 2000 images")


async def test_removal_takes_all_names_and_all_disk(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble, client: Client
) -> None:
    image = image_of(b"one")
    await store.pull(registry.add("app", "1", image))
    await store.pull(registry.add("other/app", "2", image))
    await store.remove(f"{registry.host}/app:1")
    assert await client.images.list() == []
    assert not containerd.leftovers(), "the last deletion waits for the garbage collection"
    await store.remove(f"{registry.host}/app:1")
    await store.remove("never/seen")


async def test_a_removal_that_is_told_late_does_not_bring_the_image_back(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    reference = registry.add("app", "1", image_of(b"one"))
    await store.pull(reference)
    names = store.list()[0].names
    await store.remove(reference)
    for name in names:
        await store.on_image_event("/images/create", name)
    assert store.list() == []


async def test_usage_of_the_image_file_system(
    make_store: MakeStore, registry: ScriptedRegistry, containerd: ContainerdDouble
) -> None:
    store = await make_store(stats_collect_period=3600.0)
    (empty,) = await store.filesystem()
    assert empty.used_bytes == 0
    assert empty.mountpoint.endswith("overlayfs"), empty
    store = await make_store(stats_collect_period=3600.0)
    image = image_of(b"x" * 100_000)
    await store.pull(registry.add("app", "1", image))
    (usage,) = await store.filesystem()
    assert 100_000 < usage.used_bytes < 130_000, usage
    assert usage.inodes_used >= 5, usage
    containerd.calls.clear()
    assert await store.filesystem() == [usage]
    assert containerd.methods() == [], "a new answer costs nothing"


async def test_a_stale_answer_is_given_while_the_next_is_made(
    make_store: MakeStore, registry: ScriptedRegistry, supervisor: Supervisor
) -> None:
    store = await make_store(stats_collect_period=0.05)
    (first,) = await store.filesystem()
    await store.pull(registry.add("app", "1", image_of(b"x" * 50_000)))
    while True:
        (usage,) = await store.filesystem()
        if usage != first:
            break
        await asyncio.gather(asyncio.sleep(0.01), *supervisor.tasks)
    assert usage.used_bytes > first.used_bytes
