"""Registries, content and disks that fail: each pull ends with an error that says why, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from aiohttp import web

from cri.app.built_image import (
    LAYER_GZIP,
    Blob,
    Entry,
    Image,
    Layer,
    Settings,
    image_of,
    layer_from_tar,
    layer_of,
)
from cri.app.host_images import host_architecture
from e2e.harness.catalogue import layered, scratch
from e2e.harness.image_service import known, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.scripted_registry import refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import Fault, ScriptedRegistry

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

IMAGE = scratch(b"to be spoilt")
GROWTH_BYTES = 40 << 20
"""By how much a pull may let the server's memory grow, whatever is pulled."""


async def failure(node: Node, reference: str) -> grpc.aio.AioRpcError:
    """The error of a pull that must fail, which names the image, and after which the image is unknown."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(node.cri, reference)
    assert await known(node.cri, reference) is None
    assert reference in str(refused.value.details())
    return refused.value


async def growth(node: Node, work: Awaitable[object]) -> int:
    """By how many bytes the server's resident memory was larger at most than before."""
    process = Path(f"/proc/{node.server.pid}")
    await asyncio.to_thread((process / "clear_refs").write_text, "5")  # proc(5): begins the peak anew
    before = _status(process, "VmRSS")
    await work
    return _status(process, "VmHWM") - before


def _status(process: Path, field: str) -> int:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def with_manifest(image: Image, change: Callable[[dict[str, object]], None]) -> Image:
    """The image with another manifest, whose digest fits."""
    document = json.loads(image.manifest.content)
    change(document)
    return replace(image, manifest=Blob(image.manifest.media_type, json.dumps(document).encode()))


def wrong_size(manifest: dict[str, object]) -> None:
    layers = manifest["layers"]
    assert isinstance(layers, list)
    layers[0]["size"] += 7


def unknown_layer_type(manifest: dict[str, object]) -> None:
    layers = manifest["layers"]
    assert isinstance(layers, list)
    layers[0]["mediaType"] = "application/x-unheard-of"


def schema_1(manifest: dict[str, object]) -> None:
    manifest.clear()
    manifest.update({"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []})


@pytest.mark.parametrize(
    ("change", "reason"),
    [(wrong_size, "bytes of"), (unknown_layer_type, "unheard-of"), (schema_1, "(?i)schema.*1")],
)
async def test_a_manifest_that_is_wrong(
    node: Node, scripted: ScriptedRegistry, change: Callable[[dict[str, object]], None], reason: str
) -> None:
    error = await failure(node, scripted.hold("t/wrong", "1", with_manifest(IMAGE, change)))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(error.details())


async def test_a_truncated_gzip(node: Node, scripted: ScriptedRegistry) -> None:
    layer = layer_of([Entry("file", bytes(range(256)) * 4000, mode=0o644)])
    short = Layer(Blob(LAYER_GZIP, layer.blob.content[:-200]), layer.diff_id)
    error = await failure(node, scripted.hold("t/short", "1", image_of([short], Settings())))
    assert "cannot be unpacked" in str(error.details())
    assert short.blob.digest in str(error.details())


async def test_a_manifest_of_100_mb_is_not_read(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/huge", "1", IMAGE)
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse | None:
        nonlocal sent
        if "/manifests/" not in request.path:
            return None
        response = web.StreamResponse(headers={"Content-Type": IMAGE.manifest.media_type})
        await response.prepare(request)
        while sent < 100 << 20:
            await response.write(bytes(1 << 20))
            sent += 1 << 20
        return response

    scripted.faults.append(endless)
    grown = await growth(node, failure(node, reference))
    assert grown < GROWTH_BYTES
    assert sent < 60 << 20, "the connection is given up"


async def test_a_decompression_bomb_in_the_config(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/bomb", "1", IMAGE)
    bomb = await asyncio.to_thread(gzip.compress, bytes(200 << 20), 1)

    async def explode(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith(IMAGE.config.digest):
            return None
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    scripted.faults.append(explode)
    assert await growth(node, failure(node, reference)) < GROWTH_BYTES


def answered(status: int) -> Fault:
    return refuse("/manifests/", status, "SCRIPTED")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, grpc.StatusCode.UNAUTHENTICATED),
        (403, grpc.StatusCode.PERMISSION_DENIED),
        (404, grpc.StatusCode.NOT_FOUND),
        (503, grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_refusals_keep_their_meaning(
    node: Node, scripted: ScriptedRegistry, status: int, code: grpc.StatusCode
) -> None:
    reference = scripted.hold("t/refused", "1", IMAGE)
    scripted.faults.append(answered(status))
    error = await failure(node, reference)
    assert error.code() is code
    assert str(error.details()).startswith("RegistryUnavailable") is (status == 503)


async def test_a_long_retry_after_is_told_and_not_waited_for(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/limited", "1", IMAGE)
    scripted.faults.append(refuse("/manifests/", 429, "TOOMANYREQUESTS", headers={"Retry-After": "3600"}))
    async with asyncio.timeout(5):
        error = await failure(node, reference)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "3600 s" in str(error.details())


async def test_nothing_escapes_from_a_layer(node: Node, tmp_path: Path) -> None:
    marker = f"escaped-{tmp_path.name}-{node.containerd.layout.fingerprint}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (f"../../../../../../../../tmp/{marker}", f"/tmp/{marker}-absolute"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo(f"link/{marker}-through"))
    image = image_of([layer_from_tar(buffer.getvalue())], Settings(), host_architecture())
    await push(node.registry, "t/escape", "1", image)
    with contextlib.suppress(grpc.aio.AioRpcError):  # refused or unpacked harmlessly, as containerd likes
        await pull(node.cri, f"{node.registry.host}/t/escape:1")
    escaped = [path for place in (Path("/tmp"), Path("/")) for path in place.glob(f"{marker}*")]
    assert escaped == []


async def test_a_large_layer_does_not_pass_through_memory(node: Node) -> None:
    layer = await asyncio.to_thread(layer_of, [Entry("zeros", bytes(150 << 20), mode=0o644)], 0)
    await push(node.registry, "t/large", "1", image_of([layer], Settings(), host_architecture()))
    grown = await growth(node, pull(node.cri, f"{node.registry.host}/t/large:1"))
    assert grown < GROWTH_BYTES, f"{grown >> 20} MiB"


async def test_several_large_layers_at_once_do_not_either(node: Node) -> None:
    await push(node.registry, "t/layers", "1", await asyncio.to_thread(layered, 6, 20_000_000))
    reference = f"{node.registry.host}/t/layers:1"
    await pull(node.cri, reference)  # what is loaded and allocated once and for all
    await remove(node.cri, reference)
    await collect_garbage(node.containerd.address)
    grown = await growth(node, pull(node.cri, reference))
    assert grown < GROWTH_BYTES, f"{grown >> 20} MiB"
