"""What images are made of and who brings it: kinds of layers, platforms, remote snapshotters, silence."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from aiohttp import web

from api.containerd import Client
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
from e2e.harness.image_service import known, listed, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.remote_snapshotter import NAME, remote_snapshotter
from e2e.harness.scripted_registry import demand_password, scripted_registry

if TYPE_CHECKING:
    from pathlib import Path

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


async def test_silence_ends_a_pull_and_unpacking_is_no_silence(
    node: Node, scripted: ScriptedRegistry
) -> None:
    image = layered(1, 4_000_000, seed=32)
    layer = image.layers[0].blob
    reference = scripted.hold("t/silent", "1", image)
    over = asyncio.Event()

    async def fall_silent(request: web.Request) -> web.StreamResponse | None:
        if request.method != "GET" or not request.path.endswith(layer.digest):
            return None
        response = web.StreamResponse(headers={"Content-Length": str(len(layer.content))})
        await response.prepare(request)
        if not request.http_range.start:
            await response.write(layer.content[:1_000_000])
        await over.wait()
        return response

    scripted.faults.append(fall_silent)
    large = image_of(
        [layer_of([Entry("zeros", bytes(150 << 20), mode=0o644)])], Settings(), host_architecture()
    )
    await push(node.registry, "t/large", "1", large)
    async with configured(node, keys='image_pull_progress_timeout = "250ms"\n'):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pull(node.cri, reference)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no progress for 0.25 s" in str(refused.value.details())
        over.set()
        # Some 100 KiB to fetch, and then longer to unpack than the timeout.
        assert await pull(node.cri, f"{node.registry.host}/t/large:1") == large.config.digest


async def test_one_tag_is_an_image_for_each_platform(node: Node) -> None:
    ours, other = layered(1, 1000, seed=33), scratch(b"emulated", "s390x")
    await push(node.registry, "t/platforms", "1", index_of([other, ours]))
    tag = f"{node.registry.host}/t/platforms:1"

    async def status(handler: str) -> str:
        spec = criv1.ImageSpec(image=tag, runtime_handler=handler)
        return (await node.cri.image.ImageStatus(criv1.ImageStatusRequest(image=spec))).image.id

    tables = '[containerd.runtimes.emulated]\nplatform = "linux/s390x"\n'
    async with configured(node, tables=tables):
        assert await pull(node.cri, tag) == ours.config.digest
        assert await status("emulated") == "", "it is not here for that handler"
        spec = criv1.ImageSpec(image=tag, runtime_handler="emulated")
        answer = await node.cri.image.PullImage(criv1.PullImageRequest(image=spec))
        assert answer.image_ref == other.config.digest
        assert (await status(""), await status("emulated")) == (ours.config.digest, other.config.digest)
        assert {image.id for image in await listed(node.cri, tag)} == {
            ours.config.digest,
            other.config.digest,
        }
        await remove(node.cri, ours.config.digest)
        assert (await status(""), await status("emulated")) == ("", other.config.digest)
        await remove(node.cri, tag)
        assert await known(node.cri, other.config.digest) is None


async def test_a_remote_snapshotter_has_layers_that_nobody_fetches(
    node: Node, scripted: ScriptedRegistry, workloads: Workloads, tmp_path: Path
) -> None:
    top = layer_of([Entry("top", b"fetched\n", mode=0o644)])
    middle = layer_of([Entry("middle", b"known\n", mode=0o644)], 0)
    image = image_of([BASE, middle, top], Settings(command=("sh",)), host_architecture())
    reference = scripted.hold("t/lazy", "1", image)
    tables = f'[containerd.runtimes.lazy]\nsnapshotter = "{NAME}"\n'
    keys = "disable_snapshot_annotations = false\n"
    async with (
        remote_snapshotter(node, tmp_path / "remote") as remote,
        configured(node, tables=tables, containerd_keys=keys),
    ):
        plain = layer_of(busybox_entries(host_busybox()), 0).blob.content
        remote.layers = {BASE.blob.digest: plain, middle.blob.digest: middle.blob.content}
        spec = criv1.ImageSpec(image=reference, runtime_handler="lazy")
        answer = await node.cri.image.PullImage(criv1.PullImageRequest(image=spec))
        assert answer.image_ref == image.config.digest
        fetched = [layer for layer in image.layers if scripted.asked_for(layer.blob.digest)]
        assert fetched == [top], "AlreadyExists means that a layer need not be fetched"
        labels = remote.asked[0]
        prefix = "containerd.io/snapshot/cri."
        assert labels[f"{prefix}image-ref"] == reference
        assert labels[f"{prefix}manifest-digest"] == image.manifest.digest
        assert labels[f"{prefix}layer-digest"] == BASE.blob.digest
        assert labels[f"{prefix}image-layers"] == ",".join(layer.blob.digest for layer in image.layers)
        async with Client(node.containerd.address) as client:
            names = [info.name for info in await client.snapshots(NAME).list()]
        assert len(names) == 3
        pod = await workloads.pod(runtime_handler="lazy")
        container = await pod.sleeper(image=reference)
        assert await container.output_of("cat /middle /top") == "known\nfetched"
        await workloads.remove()
        await remove(node.cri, reference)
        await remove(node.cri, node.settings.sandbox_image)
        await collect_garbage(node.containerd.address)
        assert remote.names == [], "snapshots go with their images"
    await pull(node.cri, node.settings.sandbox_image)
