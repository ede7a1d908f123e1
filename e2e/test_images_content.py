"""What images are made of: every kind of layer, shared, foreign, not as promised, or slow to come."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from aiohttp import web

from api.wire import criv1
from cri.app.built_image import (
    Blob,
    Entry,
    Image,
    Index,
    Layer,
    Settings,
    image_of,
    index_of,
    layer_from_tar,
    layer_of,
)
from cri.app.host_images import busybox_entries, host_architecture, host_busybox
from e2e.harness.catalogue import layered, scratch
from e2e.harness.configured import configured
from e2e.harness.eventually import eventually
from e2e.harness.image_service import known, pull
from e2e.harness.push import push
from e2e.harness.scripted_registry import Pause, Stall, demand_password, scripted_registry

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import ScriptedRegistry
    from e2e.harness.workload import Workloads

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

BASE = layer_from_tar(layer_of(busybox_entries(host_busybox()), 0).blob.content)
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER = {
    "application/vnd.oci.image.manifest.v1+json": "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json": "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.config.v1+json": "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.docker.image.rootfs.diff.tar",
    LAYER_ZSTD: "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
ZSTD_BLOCK = 100_000


def zstd(content: bytes) -> bytes:
    """A zstandard frame of raw blocks (RFC 8878 section 3.1.1): a length of four bytes, no window, no checksum."""
    frame = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little")
    for start in range(0, len(content), ZSTD_BLOCK):
        block = content[start : start + ZSTD_BLOCK]
        last = start + ZSTD_BLOCK >= len(content)
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return frame


def of_every_kind() -> Image:
    """A gzip layer with busybox, then an uncompressed one and a zstd one with a file each."""
    plain = layer_of([Entry("plain", b"uncompressed\n", mode=0o644)], 0)
    tar = layer_of([Entry("packed", b"by zstd\n" * 40_000, mode=0o644)], 0)
    packed = Layer(Blob(LAYER_ZSTD, zstd(tar.blob.content)), tar.diff_id)
    return image_of([BASE, plain, packed], Settings(command=("sh",)), host_architecture())


def as_docker(blob: Blob) -> Blob:
    """A document with Docker's media types in the place of OCI's."""
    text = blob.content.decode()
    for oci, docker in DOCKER.items():
        text = text.replace(f'"{oci}"', f'"{docker}"')
    return Blob(DOCKER[blob.media_type], text.encode())


def docker_index(images: list[Image]) -> Index:
    """The images in Docker schema 2, as a manifest list."""
    members = [
        replace(
            image,
            manifest=as_docker(image.manifest),
            config=Blob(DOCKER[image.config.media_type], image.config.content),
        )
        for image in images
    ]
    index = index_of(members)
    return replace(index, blob=as_docker(index.blob))


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
async def test_layers_of_every_kind(node: Node, workloads: Workloads, docker: bool) -> None:
    image = of_every_kind()
    other = scratch(b"other", "s390x")
    index = docker_index([other, image]) if docker else index_of([other, image])
    await push(node.registry, "t/kinds", "1", index)
    reference = f"{node.registry.host}/t/kinds:1"
    assert await pull(node.cri, reference) == image.config.digest
    pod = await workloads.pod()
    container = await pod.sleeper(image=reference)
    assert (
        await container.output_of("cat /plain; head -1 /packed; wc -l </packed")
        == "uncompressed\nby zstd\n40000"
    )


async def test_a_foreign_layer_comes_from_its_url(node: Node, scripted: ScriptedRegistry) -> None:
    image = layered(2, 100_000, seed=31)
    foreign = image.layers[1].blob
    async with scripted_registry() as elsewhere:
        elsewhere.blobs[foreign.digest] = foreign
        headers: list[str | None] = []

        async def noted(request: web.Request) -> web.StreamResponse | None:
            headers.append(request.headers.get("Authorization"))
            return None

        elsewhere.faults.append(noted)
        document = json.loads(image.manifest.content)
        document["layers"][1]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        document["layers"][1]["urls"] = [f"http://{elsewhere.host}/store/blobs/{foreign.digest}"]
        manifest = Blob(image.manifest.media_type, json.dumps(document).encode())
        reference = scripted.hold("t/foreign", "1", replace(image, manifest=manifest))
        del scripted.blobs[foreign.digest]
        scripted.faults.append(demand_password("user", "not-for-others"))
        auth = criv1.AuthConfig(username="user", password="not-for-others")
        assert await pull(node.cri, reference, auth) == image.config.digest
        assert elsewhere.asked_for(foreign.digest) == 1
        assert headers == [None], "its host is told no credentials"
    assert scripted.asked_for(foreign.digest) == 0


async def test_silence_ends_a_pull(node: Node, scripted: ScriptedRegistry) -> None:
    image = layered(1, 4_000_000, seed=32)
    reference = scripted.hold("t/silent", "1", image)
    scripted.faults.append(Pause(image.layers[0].blob, 1_000_000))
    async with configured(node, keys='image_pull_progress_timeout = "2s"\n'):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pull(node.cri, reference)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no progress for 2 s" in str(refused.value.details())


async def test_equal_layers_of_two_pulls_at_once_are_fetched_once(
    node: Node, scripted: ScriptedRegistry
) -> None:
    common = layered(2, 500_000, seed=34).layers
    tops = [layer_of([Entry("own", name, mode=0o644)]) for name in (b"one", b"two")]
    images = [image_of([*common, top], Settings(), host_architecture()) for top in tops]
    references = [scripted.hold(f"t/sharing-{number}", "1", image) for number, image in enumerate(images)]
    stall = Stall(common[0].blob.digest)
    scripted.faults.append(stall)

    async def tops_asked_for() -> int:
        return sum(scripted.asked_for(top.blob.digest) for top in tops)

    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(pull(node.cri, reference)) for reference in references]
        await eventually(tops_asked_for, lambda asked: asked == 2, "both pulls are under way")
        stall.release.set()
    assert [done.result() for done in pulls] == [image.config.digest for image in images]
    for layer in common:
        assert scripted.asked_for(layer.blob.digest) == 1
    later = image_of(
        [*common, layer_of([Entry("own", b"three", mode=0o644)])], Settings(), host_architecture()
    )
    await pull(node.cri, scripted.hold("t/sharing-later", "1", later))
    for layer in common:
        assert scripted.asked_for(layer.blob.digest) == 1, "what containerd has is not fetched"


async def test_downloads_are_limited_by_pull_and_by_node(node: Node, scripted: ScriptedRegistry) -> None:
    images = {f"t/limited-{seed}": layered(5, 1000, seed=seed) for seed in (35, 36)}
    references = [scripted.hold(name, "1", image) for name, image in images.items()]
    configs = {image.config.digest for image in images.values()}
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def count(request: web.Request) -> web.StreamResponse | None:
        repository, _, digest = request.path.removeprefix("/v2/").partition("/blobs/")
        if not digest or digest in configs:
            return None
        for what in (repository, "node"):
            under_way[what] += 1
            most[what] = max(most[what], under_way[what])
        await asyncio.sleep(0.1)  # the time in which more could come
        for what in (repository, "node"):
            under_way[what] -= 1
        return None

    scripted.faults.append(count)
    async with configured(node, keys="max_concurrent_downloads = 2\nnode_concurrent_downloads = 3\n"):
        await asyncio.gather(*(pull(node.cri, reference) for reference in references))
    assert most == {"node": 3, **dict.fromkeys(images, 2)}


async def test_a_layer_must_be_what_the_config_says(node: Node, scripted: ScriptedRegistry) -> None:
    layer = layer_of([Entry("file", b"content", mode=0o644)])
    promised = "sha256:" + "1" * 64
    reference = scripted.hold(
        "t/other", "1", image_of([Layer(layer.blob, promised)], Settings(), host_architecture())
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(node.cri, reference)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"unpacks to {layer.diff_id}, the image's config says {promised}" in str(refused.value.details())
    assert await known(node.cri, reference) is None
