"""Pulls that succeed: what is fetched, what is recorded, what is shared, what remains."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from api.containerd import Client
from cri.image.store import ImageStore
from tests.double import ContainerdDouble
from tests.image.conftest import MakeStore
from tests.image.made_images import image_of, index_of
from tests.image.scripted_registry import ScriptedRegistry


async def test_a_pulled_image_is_recorded_unpacked_and_held(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one", b"two", b"three", execution={"User": "1000:5", "Env": ["A=b"]})
    reference = registry.add("team/app", "v1", image)
    report = await store.pull_reported(reference)
    assert report.image_id == image.config.digest, "the image id is the config's digest"
    assert (report.layers, report.reused_layers) == (3, 0), report
    assert report.fetched_bytes == sum(len(data) for data in image.blobs.values()), report

    found = store.find(reference)
    assert found is not None, "a pulled image is in the index at once"
    repository = f"{registry.host}/team/app"
    assert found.repo_tags == (f"{repository}:v1",)
    assert found.repo_digests == (f"{repository}@{image.manifest.digest}",)
    assert set(found.names) == {found.id, *found.repo_tags, *found.repo_digests}
    assert (found.config.user, found.config.uid, found.config.env) == ("1000:5", 1000, ("A=b",))
    assert found.size == len(image.manifest.data) + sum(len(data) for data in image.blobs.values())

    removed = containerd.collect_garbage()
    assert removed == [], "the records hold all of the image"
    left = containerd.leftovers()
    assert not left.leases, "the pull's lease is gone"
    assert len(left.content) == 5, left.content
    assert len(left.snapshots) == 3, left.snapshots
    assert f"overlayfs/{found.chain_id}" in left.snapshots, "the chain ID names the top snapshot"


async def test_records_carry_the_labels_of_the_cri_plugin(
    registry: ScriptedRegistry, store: ImageStore, client: Client
) -> None:
    image = image_of(b"one")
    reference = registry.add("app", "v1", image)
    await store.pull(reference)
    for record in await client.images.list():
        assert record.labels == {"io.cri-containerd.image": "managed"}, record.name
    manifest = await client.content.info(image.manifest.digest)
    assert manifest.labels["containerd.io/gc.ref.content.config"] == image.config.digest
    assert manifest.labels["containerd.io/gc.ref.content.l.0"] == image.layers[0].digest
    layer = await client.content.info(image.layers[0].digest)
    assert layer.labels["containerd.io/uncompressed"] == image.diff_ids[0]
    assert layer.labels[f"containerd.io/distribution.source.{registry.host}"] == "app"


async def test_every_way_to_name_an_image_finds_it(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    reference = registry.add("app", "v1", image)
    image_id = await store.pull(reference)
    hexadecimal = image_id.removeprefix("sha256:")
    for name in (
        reference,
        f"{registry.host}/app@{image.manifest.digest}",
        f"{registry.host}/app:v1@{image.manifest.digest}",
        image_id,
        hexadecimal,
        hexadecimal[:12],
        image_id[:20],
    ):
        found = store.find(name)
        assert found is not None, f"{name} is not found"
        assert found.id == image_id, name
    for name in (f"{registry.host}/app", hexadecimal[:3], "f" * 64, "no such name", ""):
        assert store.find(name) is None, f"{name!r} should not be found"


async def test_by_digest_there_is_no_tag(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    registry.add("app", "v1", image)
    image_id = await store.pull(f"{registry.host}/app@{image.manifest.digest}")
    found = store.find(image_id)
    assert found is not None
    assert found.repo_tags == ()
    assert found.repo_digests == (f"{registry.host}/app@{image.manifest.digest}",)


async def test_three_tags_of_one_image(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    ids = {await store.pull(registry.add("app", tag, image)) for tag in ("1", "2", "3")}
    assert len(ids) == 1
    assert len(store.list()) == 1, "one image"
    assert len(store.list()[0].repo_tags) == 3, store.list()[0].repo_tags
    await store.remove(store.list()[0].repo_tags[1])
    assert store.list() == [], "any name removes all of them"


async def test_a_tag_that_moves(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    old, new = image_of(b"old"), image_of(b"new")
    reference = registry.add("app", "latest", old)
    old_id = await store.pull(reference)
    registry.add("app", "latest", new)
    new_id = await store.pull(reference)
    assert new_id != old_id
    tagged = {image.id: image.repo_tags for image in store.list()}
    assert tagged == {old_id: (), new_id: (reference,)}, tagged
    await store.remove(old_id)
    await store.remove(new_id)
    containerd.collect_garbage()
    assert not containerd.leftovers(), containerd.leftovers()


async def test_what_is_there_is_not_fetched_again(registry: ScriptedRegistry, store: ImageStore) -> None:
    first = image_of(b"base", b"mine")
    second = image_of(b"base", b"other")
    await store.pull(registry.add("app", "1", first))
    registry.asked.clear()
    report = await store.pull_reported(registry.add("app", "2", second))
    assert report.reused_layers == 1, report
    assert f"GET /v2/app/blobs/{first.layers[0].digest}" not in registry.paths(), "the base is there already"


async def test_pulling_again_costs_one_head(registry: ScriptedRegistry, store: ImageStore) -> None:
    reference = registry.add("app", "1", image_of(b"base", b"mine"))
    await store.pull(reference)
    registry.asked.clear()
    report = await store.pull_reported(reference)
    assert registry.paths() == ["HEAD /v2/app/manifests/1"], registry.paths()
    assert report.fetched_bytes == 0, report


async def test_an_index_gives_the_platform_of_this_machine(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    ours, other = image_of(b"ours"), image_of(b"other", architecture="arm64")
    index = index_of(
        (other, {"os": "linux", "architecture": "arm64"}), (ours, {"os": "linux", "architecture": "amd64"})
    )
    reference = registry.add("app", "multi", ours, index)
    image_id = await store.pull(reference)
    assert image_id == ours.config.digest
    found = store.find(reference)
    assert found is not None
    assert found.repo_digests == (f"{registry.host}/app@{index.digest}",), "the digest is the index's"
    assert found.target.digest == index.digest
    assert found.manifest_digest == ours.manifest.digest
    assert containerd.collect_garbage() == [], "the index holds the manifest of our platform"


async def test_a_handler_may_want_another_platform(registry: ScriptedRegistry, make_store: MakeStore) -> None:
    ours, other = image_of(b"ours"), image_of(b"other", architecture="s390x")
    index = index_of(
        (other, {"os": "linux", "architecture": "s390x"}), (ours, {"os": "linux", "architecture": "amd64"})
    )
    reference = registry.add("app", "multi", ours, index)
    registry.add("app", "other", other)
    store = await make_store(platforms=("linux/s390x",))
    assert await store.pull(reference, platform="linux/s390x") == other.config.digest
    restarted = await make_store(platforms=("linux/s390x",))
    assert restarted.find(reference) is None, "it is not here for this machine's platform"
    image = restarted.find(reference, "linux/s390x")
    assert image is not None, "an image of which only a handler's platform is there is known after a restart"
    assert image.id == other.config.digest
    assert await restarted.unpacked(image, "native") == image.chain_id


async def test_one_tag_is_two_images_on_two_platforms(
    registry: ScriptedRegistry, make_store: MakeStore, containerd: ContainerdDouble
) -> None:
    ours, other = image_of(b"ours"), image_of(b"other", architecture="s390x")
    index = index_of(
        (other, {"os": "linux", "architecture": "s390x"}), (ours, {"os": "linux", "architecture": "amd64"})
    )
    reference = registry.add("app", "multi", ours, index)
    registry.add("app", "other", other)
    store = await make_store(platforms=("linux/s390x",))
    assert await store.pull(reference) == ours.config.digest
    assert await store.pull(reference, platform="linux/s390x") == other.config.digest
    restarted = await make_store(platforms=("linux/s390x",))
    for each in (store, restarted):
        ids = {image.id: image for image in each.list()}
        assert set(ids) == {ours.config.digest, other.config.digest}
        assert [image.repo_tags for image in ids.values()] == [(reference,)] * 2, "both go by the tag"
        here, there = each.find(reference), each.find(reference, "linux/s390x")
        assert (here, there) == (ids[ours.config.digest], ids[other.config.digest])
        assert here is not None
        assert there is not None
        assert (here.chain_id, there.chain_id) == (ours.diff_ids[0], other.diff_ids[0])
        assert {image.id for image in each.list(reference)} == set(ids)
    await restarted.remove(ours.config.digest)
    assert restarted.find(reference) is None
    left = restarted.find(reference, "linux/s390x")
    assert left is not None
    assert left.repo_tags == (reference,), "the name is still the other's"
    assert await restarted.pull(reference) == ours.config.digest
    await restarted.remove(reference)
    assert restarted.list() == [], "removal by the name is meant for both"
    containerd.collect_garbage()
    assert not containerd.leftovers(), containerd.leftovers()


async def test_two_pulls_of_one_image_are_one(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one", b"two")
    reference = registry.add("app", "v1", image)
    ids = await asyncio.gather(*(store.pull(reference) for _ in range(5)))
    assert len(set(ids)) == 1
    assert len(registry.paths("GET /v2/app/manifests/*")) == 1, registry.paths()
    assert len(registry.paths("GET /v2/app/blobs/*")) == 3, registry.paths()


async def test_two_images_at_once_share_the_fetch_of_a_layer(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    first, second = image_of(b"base", b"mine"), image_of(b"base", b"other")
    references = [registry.add("one", "v1", first), registry.add("two", "v1", second)]
    await asyncio.gather(*(store.pull(reference) for reference in references))
    assert len(registry.paths(f"GET */blobs/{first.layers[0].digest}")) == 1, registry.paths()
    assert containerd.methods().count("Diff.Apply") == 3, "the base is unpacked once"


async def test_layers_of_equal_content_in_one_image(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one", b"two")
    twice = image_of(b"one", b"two")
    twice.layers[1], twice.diff_ids[1] = twice.layers[0], twice.diff_ids[0]
    await store.pull(registry.add("app", "v1", image))
    assert store.list()[0].chain_id


async def test_an_image_without_layers(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of()
    found = store.find(await store.pull(registry.add("app", "v1", image)))
    assert found is not None
    assert found.chain_id == ""
    assert await store.unpacked(found, "overlayfs") == ""


async def test_without_a_digest_header_the_bytes_decide(
    registry: ScriptedRegistry, store: ImageStore
) -> None:
    registry.digest_header = False
    image = image_of(b"one")
    assert await store.pull(registry.add("app", "v1", image)) == image.config.digest


@pytest.mark.parametrize("discard", [True, False])
async def test_unpacked_layers_blobs_are_kept_or_not(
    make_store, registry: ScriptedRegistry, containerd: ContainerdDouble, *, discard: bool
) -> None:
    store = await make_store(discard_unpacked_layers=discard)
    reference = registry.add("app", "v1", image_of(b"one", b"two"))
    await store.pull(reference)
    containerd.collect_garbage()
    assert len(containerd.leftovers().content) == (2 if discard else 4)
    registry.asked.clear()
    report = await store.pull_reported(reference)
    assert report.fetched_bytes == 0, "snapshots that are there make the blobs unnecessary"


async def test_pinned_images_say_so(make_store, registry: ScriptedRegistry, client: Client) -> None:
    store = await make_store(pinned_images=(f"{registry.host}/infra/*",))
    pinned = store.find(await store.pull(registry.add("infra/agent", "v1", image_of(b"agent"))))
    plain = store.find(await store.pull(registry.add("app", "v1", image_of(b"app"))))
    assert pinned is not None
    assert plain is not None
    assert (pinned.pinned, plain.pinned) == (True, False)
    record = await client.images.get(pinned.repo_tags[0])
    assert record.labels["io.cri-containerd.pinned"] == "pinned"
    await store.remove(pinned.id)
    assert store.find(pinned.id) is None, "pinning does not keep an image from an explicit removal"


async def test_call_budget_of_a_pull(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    reference = registry.add("app", "v1", image_of(b"one", b"two"))
    containerd.calls.clear()
    await store.pull(reference)
    methods = containerd.methods()
    per_layer = (
        "Content.Write",
        "Snapshots.Prepare",
        "Diff.Apply",
        "Snapshots.Commit",
    )
    expected = dict.fromkeys(per_layer, 2) | {
        "Content.Write": 4,
        "Content.Read": 1,
        "Snapshots.Stat": 1,
        "Images.Create": 3,
        "Leases.Create": 1,
        "Leases.Delete": 1,
    }
    # The label with the diff ID is written apart only if a layer has come before the config.
    counted = {method: methods.count(method) for method in set(methods) if method != "Content.Update"}
    assert counted == expected
    assert methods.count("Content.Update") <= 2


async def test_a_remote_snapshotter_makes_downloads_unnecessary(
    make_store, registry: ScriptedRegistry, containerd: ContainerdDouble
) -> None:
    store = await make_store(disable_snapshot_annotations=False)
    image = image_of(b"one", b"two", b"three")
    reference = registry.add("app", "v1", image)
    containerd.fail("Snapshots.Prepare", grpc.StatusCode.ALREADY_EXISTS, times=3)
    report = await store.pull_reported(reference)
    assert registry.paths("GET */blobs/*") == [f"GET /v2/app/blobs/{image.config.digest}"]
    assert report.reused_layers == 3
    first = next(call.request for call in containerd.calls if call.method == "Snapshots.Prepare")
    prefix = "containerd.io/snapshot/cri."
    assert first.labels[f"{prefix}image-ref"] == reference
    assert first.labels[f"{prefix}manifest-digest"] == image.manifest.digest
    assert first.labels[f"{prefix}layer-digest"] == image.layers[0].digest
    assert first.labels[f"{prefix}image-layers"] == ",".join(layer.digest for layer in image.layers)


async def test_a_remote_snapshotter_that_lacks_the_upper_layers(
    make_store, registry: ScriptedRegistry, containerd: ContainerdDouble
) -> None:
    store = await make_store(disable_snapshot_annotations=False)
    image = image_of(*(str(number).encode() for number in range(4)))
    reference = registry.add("app", "v1", image)
    (ours,) = [await store.pull(registry.add("base", "v1", image_of(b"0")))]
    registry.asked.clear()
    report = await store.pull_reported(reference)
    fetched = {path.rpartition("/")[2] for path in registry.paths("GET */blobs/*")}
    assert fetched == {image.config.digest, *(layer.digest for layer in image.layers[1:])}
    assert report.reused_layers == 1
    assert ours != report.image_id
    containerd.collect_garbage()
    assert len([name for name in containerd.leftovers().snapshots if name.startswith("overlayfs/")]) == 4
