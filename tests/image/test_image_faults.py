"""Pulls that meet trouble: resumed, moved to another host, or refused clearly with nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from aiohttp import web

from cri.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from cri.image import exchange
from cri.image.store import ImageStore
from tests.double import ContainerdDouble
from tests.image.conftest import MakeStore, write_hosts
from tests.image.made_images import OCI_CONFIG, Blob, image_of, index_of, manifest_of
from tests.image.scripted_registry import ScriptedRegistry, body, cut, redirect, stall, status

Nothing = Callable[[], None]
BIG = os.urandom(3 << 20)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that only shows in the record of what was asked."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen")


async def test_a_reset_in_mid_layer_is_resumed_where_the_ingest_stands(
    registry: ScriptedRegistry, store: ImageStore
) -> None:
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    registry.fault("GET */blobs/" + layer.digest, cut(layer.data, 1 << 20), times=2)
    report = await store.pull_reported(reference)
    ranges = [asked.headers.get("range") for asked in registry.asked if asked.path.endswith(layer.digest)]
    assert ranges[0] is None
    assert all(ranges[1:]), f"every later request resumes: {ranges}"
    assert len(ranges) == 3, ranges
    assert report.fetched_bytes == sum(len(data) for data in image.blobs.values()), "no byte came twice"


async def test_a_host_without_ranges_begins_again(registry: ScriptedRegistry, store: ImageStore) -> None:
    registry.ranges = False
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    registry.fault("GET */blobs/" + layer.digest, cut(layer.data, 1 << 20))
    assert await store.pull(reference) == image.config.digest


async def test_connections_that_bring_nothing_end_the_pull(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    registry.fault("GET */blobs/" + layer.digest, cut(layer.data, 0), times=None)
    with pytest.raises(Unavailable, match=f"{layer.digest}.*{registry.host}"):
        await store.pull(reference)
    assert_nothing_left()


async def test_a_blob_of_wrong_content_is_refused(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    registry.blobs[layer.digest] = bytes(len(layer.data))
    with pytest.raises(Unavailable, match="wrong content") as caught:
        await store.pull(reference)
    assert registry.host in str(caught.value), caught.value
    assert_nothing_left()


async def test_a_mirror_of_wrong_content_is_replaced_by_the_next_host(
    registry: ScriptedRegistry, store: ImageStore, certs: Path
) -> None:
    image = image_of(BIG, b"two")
    reference = registry.add("app", "v1", image)
    async with ScriptedRegistry() as mirror:
        mirror.add("app", "v1", image)
        mirror.blobs[image.layers[0].digest] = bytes(len(image.layers[0].data))
        write_hosts(
            certs, registry.host, f'server = "http://{registry.host}"\n[host."http://{mirror.host}"]\n'
        )
        assert await store.pull(reference) == image.config.digest
        assert registry.paths("GET */blobs/*") == [f"GET /v2/app/blobs/{image.layers[0].digest}"]


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1]])
async def test_a_blob_of_wrong_size_is_refused(
    registry: ScriptedRegistry,
    store: ImageStore,
    assert_nothing_left: Nothing,
    change: Callable[[bytes], bytes],
) -> None:
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    registry.blobs[layer.digest] = change(layer.data)
    with pytest.raises(Unavailable, match=f"it has {len(change(layer.data))} bytes"):
        await store.pull(reference)
    assert_nothing_left()


async def test_a_blob_that_goes_on_is_cut_off(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(b"small")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(bytes(1 << 16))
        return response

    reference = registry.add("app", "v1", image)
    registry.fault("GET */blobs/" + image.layers[0].digest, endless, times=None)
    with pytest.raises(Unavailable, match="it sends more than the"):
        await store.pull(reference)
    assert_nothing_left()


async def test_a_truncated_gzip_is_refused(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(b"one")
    broken = Blob(image.layers[0].media_type, image.layers[0].data[:-20])
    image.manifest, image.layers = manifest_of(image.config, [broken]), [broken]
    with pytest.raises(FailedPrecondition, match=f"layer {broken.digest} cannot be unpacked"):
        await store.pull(registry.add("app", "v1", image))
    assert_nothing_left()


async def test_a_layer_that_is_not_what_the_config_says(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image, other = image_of(b"one"), image_of(b"two")
    image.manifest, image.layers = manifest_of(image.config, other.layers), other.layers
    with pytest.raises(FailedPrecondition, match="unpacks to"):
        await store.pull(registry.add("app", "v1", image))
    assert_nothing_left()


async def test_a_config_with_other_layers_than_the_manifest(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image, more = image_of(b"one"), image_of(b"one", b"two")
    image.manifest, image.config = manifest_of(more.config, image.layers), more.config
    with pytest.raises(FailedPrecondition, match="1 layers, its config 2 diff IDs"):
        await store.pull(registry.add("app", "v1", image))
    assert_nothing_left()


async def test_an_unknown_layer_type_is_refused(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(b"one")
    image.layers[0].media_type = "application/x-rar"
    image.manifest = manifest_of(image.config, image.layers)
    with pytest.raises(Unimplemented, match="application/x-rar"):
        await store.pull(registry.add("app", "v1", image))
    assert_nothing_left()


async def test_what_is_no_container_image_is_refused(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    image.config = Blob("application/vnd.cncf.helm.config.v1+json", b"{}")
    image.manifest = manifest_of(image.config, image.layers)
    with pytest.raises(Unimplemented, match="not a container image.*helm"):
        await store.pull(registry.add("chart", "v1", image))


async def test_schema_1_is_refused(registry: ScriptedRegistry, store: ImageStore) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.manifests["old:v1"] = Blob(kind, b'{"schemaVersion": 1, "fsLayers": []}')
    with pytest.raises(Unimplemented, match="schema 1 is not supported"):
        await store.pull(f"{registry.host}/old:v1")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_manifest_of_100_mb_is_not_read(
    registry: ScriptedRegistry, store: ImageStore, *, announced: bool
) -> None:
    sent = 0

    async def huge(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        if announced:
            response.content_length = 100 << 20
        await response.prepare(request)
        while sent < 100 << 20 and request.transport is not None and not request.transport.is_closing():
            await response.write(bytes(1 << 20))
            sent += 1 << 20
        return response

    registry.fault("GET */manifests/*", huge, times=None)
    with pytest.raises(FailedPrecondition, match="larger than 8 MiB"):
        await store.pull(f"{registry.host}/app:v1")
    assert sent < 32 << 20, f"{sent >> 20} MiB were taken"


async def test_a_compressed_config_is_not_decompressed(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(b"one")
    bomb = gzip.compress(bytes(1 << 20))
    registry.fault("GET */blobs/" + image.config.digest, body(bomb, {"Content-Encoding": "gzip"}), times=None)
    with pytest.raises(Unavailable, match="bytes of"):
        await store.pull(registry.add("app", "v1", image))
    assert_nothing_left()


async def test_a_config_that_is_too_large_is_refused(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    image.config = Blob(OCI_CONFIG, b" " * (9 << 20))
    image.manifest = manifest_of(image.config, image.layers)
    with pytest.raises(FailedPrecondition, match="config of 9437184 bytes"):
        await store.pull(registry.add("app", "v1", image))


async def test_an_index_without_our_platform_says_what_it_has(
    registry: ScriptedRegistry, store: ImageStore
) -> None:
    image = image_of(b"one")
    index = index_of(
        (image, {"os": "linux", "architecture": "s390x"}), (image, {"os": "windows", "architecture": "amd64"})
    )
    with pytest.raises(NotFound, match="no image for platform linux/.*linux/s390x, windows/amd64"):
        await store.pull(registry.add("app", "v1", image, index))


async def test_a_manifest_that_is_also_an_index_is_refused(
    registry: ScriptedRegistry, store: ImageStore
) -> None:
    image = image_of(b"one")
    text = image.manifest.data.decode()
    image.manifest.data = (text[:-1] + ', "manifests": []}').encode()
    with pytest.raises(FailedPrecondition, match="ambiguous"):
        await store.pull(registry.add("app", "v1", image))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (403, PermissionDenied, "forbidden"),
        (404, NotFound, "not found"),
        (401, Unauthenticated, "Bearer or Basic"),
        (429, ResourceExhausted, "too many requests"),
        (400, FailedPrecondition, "status 400"),
    ],
)
async def test_refusals_keep_their_meaning(
    registry: ScriptedRegistry, store: ImageStore, code: int, kind: type[Exception], words: str
) -> None:
    text = '{"errors": [{"code": "DENIED", "message": "because of this"}]}'
    registry.fault("GET */manifests/*", status(code, text=text), times=None)
    with pytest.raises(kind, match=words) as caught:
        await store.pull(f"{registry.host}/app:v1")
    assert registry.host in str(caught.value)
    assert not str(caught.value).startswith("RegistryUnavailable")
    if code != 401:
        assert "because of this" in str(caught.value), "the registry's own words help"


async def test_5xx_then_success(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    registry.fault("GET *", status(503), times=2)
    registry.fault(f"GET */blobs/{image.layers[0].digest}", status(500), times=1)
    assert await store.pull(registry.add("app", "v1", image)) == image.config.digest


async def test_5xx_for_ever_is_an_unavailable_registry(registry: ScriptedRegistry, store: ImageStore) -> None:
    registry.fault("*", status(502), times=None)
    with pytest.raises(Unavailable, match=f"^RegistryUnavailable: {registry.host}/app:v1: manifest"):
        await store.pull(f"{registry.host}/app:v1")
    assert len(registry.asked) == exchange.MOST_ATTEMPTS


async def test_what_cannot_be_resolved_costs_containerd_nothing(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    containerd.calls.clear()
    with pytest.raises(NotFound):
        await store.pull(f"{registry.host}/app:v1")
    assert containerd.methods() == []


async def test_nobody_listens(store: ImageStore) -> None:
    with pytest.raises(Unavailable, match="^RegistryUnavailable: .*Connection refused"):
        await store.pull("127.0.0.1:9/app:v1")


async def test_429_with_retry_after_is_waited_for(registry: ScriptedRegistry, store: ImageStore) -> None:
    image = image_of(b"one")
    registry.fault("GET */manifests/*", status(429, {"Retry-After": "0"}), times=2)
    assert await store.pull(registry.add("app", "v1", image)) == image.config.digest


async def test_429_with_a_long_retry_after_fails_at_once(
    registry: ScriptedRegistry, store: ImageStore
) -> None:
    registry.fault("GET */manifests/*", status(429, {"Retry-After": "3600"}), times=None)
    with pytest.raises(ResourceExhausted, match="again in 3600 s"):
        await store.pull(f"{registry.host}/app:v1")
    assert len(registry.asked) == 1


async def test_an_endless_redirect_ends(registry: ScriptedRegistry, store: ImageStore) -> None:
    registry.fault("*", redirect(f"http://{registry.host}/v2/app/manifests/v1"), times=None)
    with pytest.raises(Unavailable, match="redirects more than 10 times"):
        await store.pull(f"{registry.host}/app:v1")


async def test_a_redirect_to_nowhere(registry: ScriptedRegistry, store: ImageStore) -> None:
    registry.fault("*", redirect("file:///etc/passwd"), times=None)
    with pytest.raises(Unavailable, match="no http or https URL"):
        await store.pull(f"{registry.host}/app:v1")


async def test_silence_ends_the_pull_after_the_progress_timeout(
    make_store: MakeStore, registry: ScriptedRegistry, assert_nothing_left: Nothing
) -> None:
    store = await make_store(image_pull_progress_timeout=0.2)
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    registry.fault(f"GET */blobs/{layer.digest}", stall(layer.data, 1000), times=None)
    with pytest.raises(DeadlineExceeded, match=r"no progress for 0.2 s"):
        await store.pull(reference)
    assert_nothing_left()


async def test_unpacking_is_progress(
    make_store: MakeStore, registry: ScriptedRegistry, containerd: ContainerdDouble
) -> None:
    store = await make_store(image_pull_progress_timeout=0.1)
    containerd.delay("Diff.Apply", 0.4)
    image = image_of(b"one")
    assert await store.pull(registry.add("app", "v1", image)) == image.config.digest


async def test_a_cancelled_pull_leaves_nothing(
    registry: ScriptedRegistry, store: ImageStore, assert_nothing_left: Nothing
) -> None:
    image = image_of(b"one", BIG)
    reached = asyncio.Event()
    registry.fault(f"GET */blobs/{image.layers[1].digest}", stall(image.layers[1].data, 1 << 20, reached))
    async with asyncio.TaskGroup() as group:
        pull = group.create_task(store.pull(registry.add("app", "v1", image)))
        await reached.wait()
        pull.cancel()
    assert_nothing_left()
    assert store.list() == []


async def test_cancelled_while_unpacking_leaves_nothing(
    registry: ScriptedRegistry,
    store: ImageStore,
    containerd: ContainerdDouble,
    assert_nothing_left: Nothing,
) -> None:
    hang = containerd.hang("Diff.Apply")
    async with asyncio.TaskGroup() as group:
        pull = group.create_task(store.pull(registry.add("app", "v1", image_of(b"one", b"two"))))
        await hang.reached.wait()
        pull.cancel()
    hang.release()
    assert_nothing_left()


async def test_when_one_of_two_callers_leaves_the_pull_goes_on(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one")
    reference = registry.add("app", "v1", image)
    hang = containerd.hang("Diff.Apply")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(store.pull(reference))
        await hang.reached.wait()
        second = group.create_task(store.pull(reference))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0.01)
        hang.release()
    assert first.cancelled()
    assert second.result() == image.config.digest


async def test_a_shared_fetch_survives_the_pull_that_began_it(
    registry: ScriptedRegistry, store: ImageStore, containerd: ContainerdDouble
) -> None:
    first, second = image_of(BIG, b"mine"), image_of(BIG, b"other")
    references = [registry.add("one", "v1", first), registry.add("two", "v1", second)]
    base = first.layers[0]
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse | None:
        reached.set()
        await go_on.wait()
        return None

    registry.fault(f"GET */blobs/{base.digest}", slow)
    async with asyncio.TaskGroup() as group:
        beginner = group.create_task(store.pull(references[0]))
        await reached.wait()
        joiner = group.create_task(store.pull(references[1]))
        await until(lambda: bool(registry.paths(f"GET */blobs/{second.layers[1].digest}")))
        beginner.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
    assert joiner.result() == second.config.digest
    assert len(registry.paths(f"GET */blobs/{base.digest}")) == 1, "the fetch was not begun again"
    containerd.collect_garbage()
    assert len(containerd.leftovers().images) == 3, "only the second image is there"


async def test_a_full_disk_is_said_clearly(
    registry: ScriptedRegistry,
    store: ImageStore,
    containerd: ContainerdDouble,
    assert_nothing_left: Nothing,
) -> None:
    containerd.fail(
        "Diff.Apply", grpc.StatusCode.UNKNOWN, "write /var/lib/x: no space left on device", times=None
    )
    with pytest.raises(ResourceExhausted, match="disk is full; free space"):
        await store.pull(registry.add("app", "v1", image_of(b"one")))
    assert_nothing_left()


async def test_another_clients_write_of_the_same_blob_is_waited_for(
    registry: ScriptedRegistry, store: ImageStore, client, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one")
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    async with (
        asyncio.TaskGroup() as group,
        client.content.writer(
            f"layer-{layer.digest}", total=len(layer.data), expected=layer.digest
        ) as writer,
    ):
        pull = group.create_task(store.pull(reference))
        await until(lambda: containerd.methods().count("Content.Write") >= 4)
        await writer.commit(size=len(layer.data), expected=layer.digest, data=layer.data)
    assert pull.result() == image.config.digest
    assert registry.paths(f"GET */blobs/{layer.digest}") == [], "the other client has fetched it"


async def test_another_clients_write_that_stands_still_ends_the_pull(
    registry: ScriptedRegistry, make_store: MakeStore, client
) -> None:
    store = await make_store(image_pull_progress_timeout=0.1)
    image = image_of(b"one")
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    async with client.content.writer(f"layer-{layer.digest}", total=5) as writer:
        await writer.write(b"x")
        with pytest.raises(DeadlineExceeded, match="another client of containerd writes it"):
            await store.pull(reference)
        await writer.write(b"y")


async def test_an_ingest_of_an_earlier_server_is_taken_up(
    registry: ScriptedRegistry, store: ImageStore, client
) -> None:
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    async with client.content.writer(
        f"layer-{layer.digest}", total=len(layer.data), expected=layer.digest
    ) as writer:
        await writer.write(layer.data[: 1 << 20])
    report = await store.pull_reported(reference)
    assert report.fetched_bytes == len(layer.data) - (1 << 20) + len(image.config.data), report


async def test_a_bad_ingest_of_an_earlier_server_is_thrown_away(
    registry: ScriptedRegistry, store: ImageStore, client
) -> None:
    image = image_of(BIG)
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    async with client.content.writer(f"layer-{layer.digest}", total=len(layer.data)) as writer:
        await writer.write(bytes(len(layer.data)))
    assert await store.pull(reference) == image.config.digest


async def test_cancelling_does_not_abort_another_clients_write(
    registry: ScriptedRegistry, store: ImageStore, client, containerd: ContainerdDouble
) -> None:
    image = image_of(b"one")
    layer = image.layers[0]
    reference = registry.add("app", "v1", image)
    async with (
        asyncio.TaskGroup() as group,
        client.content.writer(
            f"layer-{layer.digest}", total=len(layer.data), expected=layer.digest
        ) as writer,
    ):
        pull = group.create_task(store.pull(reference))
        await until(lambda: containerd.methods().count("Content.Write") >= 4)
        pull.cancel()
        await asyncio.wait({pull})
        await writer.commit(size=len(layer.data), expected=layer.digest, data=layer.data)
    assert (await client.content.info(layer.digest)).size == len(layer.data)
