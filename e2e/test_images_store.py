"""The images that a node has: whoever brought or named them, which are pinned, refused, or gone."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.containerd import Client
from api.wire import criv1
from cri.app.built_image import Settings, index_of, layout_archive
from cri.app.host_images import busybox_image
from e2e.harness.catalogue import layered, scratch
from e2e.harness.configured import configured
from e2e.harness.eventually import eventually
from e2e.harness.image_service import known, listed, present, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import ScriptedRegistry
    from e2e.harness.workload import Workloads

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

IMAGE = scratch(b"kept here")
VERIFIER = """#!/bin/sh
echo "$@" >>asked
cat >/dev/null
case "$2" in *unsigned*) echo "nobody signed it"; exit 1;; esac
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def programs(node: Node, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The server with pinned images, a verifier and handlers of their own, which costs one restart for all tests."""
    directory = tmp_path_factory.mktemp("verifiers")
    program = directory / "check"
    program.write_text(VERIFIER.replace("asked", str(directory.parent / "asked")))
    program.chmod(0o755)
    tables = f"""
[image_verifier]
bin_dir = {json.dumps(str(directory))}
[containerd.runtimes.native]
snapshotter = "native"
[containerd.runtimes.emulated]
platform = "linux/s390x"
"""
    pinned = f'pinned_images = ["{node.registry.host}/t/pin*"]\n'
    async with configured(node, keys=pinned, tables=tables):
        yield directory


async def ctr(node: Node, *words: str | Path) -> None:
    """`ctr` in the namespace of CRI."""
    process = await asyncio.create_subprocess_exec(
        *("ctr", "-a", node.containerd.address, "-n", "k8s.io", *words), stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0, words


async def records(node: Node) -> dict[str, dict[str, str]]:
    """The labels of containerd's image records, by name."""
    async with Client(node.containerd.address) as client:
        return {record.name: dict(record.labels) for record in await client.images.list()}


async def test_what_ctr_imports_tags_and_deletes_is_seen(
    node: Node, tmp_path: Path, workloads: Workloads
) -> None:
    image = busybox_image(settings=Settings(command=("sh",), labels={"test": "ctr"}))
    first, second = "example.invalid/imported:1", "example.invalid/tagged:2"
    (tmp_path / "image.tar").write_bytes(layout_archive({first: image}))
    await ctr(node, "images", "import", "--no-unpack", tmp_path / "image.tar")
    await eventually(lambda: known(node.cri, first), lambda found: found is not None, "the import is known")
    await ctr(node, "images", "tag", first, second)
    await eventually(lambda: known(node.cri, second), lambda found: found is not None, "the tag is known")
    assert sorted((await present(node.cri, first)).repo_tags) == [first, second]
    pod = await workloads.pod()
    container = await pod.sleeper(image=second)
    assert await container.output_of("echo unpacked") == "unpacked", "unpacked on first use"
    assert (await container.status()).image_ref == image.config.digest
    await container.remove()
    await ctr(node, "images", "rm", first)
    await eventually(lambda: known(node.cri, first), lambda found: found is None, "the name is gone")
    assert list((await present(node.cri, second)).repo_tags) == [second]
    await ctr(node, "images", "rm", "--sync", second)
    await eventually(
        lambda: known(node.cri, image.config.digest), lambda found: found is None, "the image is gone"
    )


async def test_any_reference_removes_all_names(node: Node) -> None:
    host = node.registry.host
    digest = await push(node.registry, "t/names", "1", IMAGE)
    await push(node.registry, "t/names", "2", IMAGE)
    image_id = IMAGE.config.digest
    for reference in (
        f"{host}/t/names:1",
        f"{host}/t/names@{digest}",
        image_id,
        image_id.removeprefix("sha256:"),
        image_id.removeprefix("sha256:")[:14],
    ):
        await pull(node.cri, f"{host}/t/names:1")
        await pull(node.cri, f"{host}/t/names:2")
        await remove(node.cri, reference)
        await remove(node.cri, reference)
        assert await known(node.cri, image_id) is None, reference
        assert [name for name in await records(node) if "t/names" in name or name == image_id] == []
    await collect_garbage(node.containerd.address)
    async with Client(node.containerd.address) as client:
        there = {blob.digest for blob in await client.content.list()}
    assert not there & {IMAGE.manifest.digest, *(blob.digest for blob in IMAGE.blobs)}, "content is gone"


async def test_records_are_those_of_containerds_plugin(node: Node) -> None:
    digest = await push(node.registry, "t/labels", "1", IMAGE)
    await pull(node.cri, f"{node.registry.host}/t/labels:1")
    found = await records(node)
    for name in (
        IMAGE.config.digest,
        f"{node.registry.host}/t/labels:1",
        f"{node.registry.host}/t/labels@{digest}",
    ):
        assert found[name] == {"io.cri-containerd.image": "managed"}


async def test_pinned_images_are_told_and_can_be_removed(node: Node) -> None:
    await push(node.registry, "t/pinned", "1", IMAGE)
    reference = f"{node.registry.host}/t/pinned:1"
    by_id = {image.id: image for image in await listed(node.cri)}
    assert by_id[(await present(node.cri, node.settings.sandbox_image)).id].pinned
    await pull(node.cri, reference)
    assert (await present(node.cri, reference)).pinned
    assert (await records(node))[reference]["io.cri-containerd.pinned"] == "pinned"
    await remove(node.cri, reference)
    assert await known(node.cri, reference) is None, "the kubelet decides"


async def test_a_verifier_may_refuse(node: Node, scripted: ScriptedRegistry, programs: Path) -> None:
    good, bad = scripted.hold("t/signed", "1", IMAGE), scripted.hold("t/unsigned", "1", scratch(b"unsigned"))
    assert await pull(node.cri, good) == IMAGE.config.digest
    with pytest.raises(grpc.aio.AioRpcError, match="nobody signed it") as refused:
        await pull(node.cri, bad)
    assert str(refused.value.details()).startswith("SignatureValidationFailed")
    assert scripted.asked_for("/t/unsigned/blobs/") == 0, "nothing of it was fetched"
    asked = (programs.parent / "asked").read_text()
    assert f"-name {good} -digest {IMAGE.manifest.digest}" in asked


async def test_a_handler_has_its_own_snapshotter_and_platform(node: Node) -> None:
    ours, other = layered(1, 1000, seed=21), scratch(b"emulated", "s390x")
    await push(node.registry, "t/handlers", "1", index_of([other, ours]))
    reference = f"{node.registry.host}/t/handlers:1"

    async def pull_for(handler: str) -> str:
        spec = criv1.ImageSpec(image=reference, runtime_handler=handler)
        return (await node.cri.image.PullImage(criv1.PullImageRequest(image=spec))).image_ref

    assert await pull_for("native") == ours.config.digest
    async with Client(node.containerd.address) as client:
        assert (await client.snapshots("native").stat(ours.layers[0].diff_id)).name
        unpacked = {snapshot.name for snapshot in await client.snapshots("overlayfs").list()}
        assert ours.layers[0].diff_id not in unpacked
    assert await pull_for("emulated") == other.config.digest
    with pytest.raises(grpc.aio.AioRpcError, match="not configured on this node"):
        await pull_for("unknown")
