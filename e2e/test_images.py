"""Images: pulling from a real registry and from one that misbehaves, naming, removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from cri.app.built_image import (
    LAYER_GZIP,
    Blob,
    Layer,
    Settings,
    image_of,
    index_of,
    layer_of,
    layout_archive,
)
from cri.app.host_images import busybox_entries, busybox_image, host_busybox
from e2e.harness.catalogue import layered, many_platforms, scratch
from e2e.harness.certs import distrust, write_mirror
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually
from e2e.harness.image_service import known, listed, present, pull, remove
from e2e.harness.push import push
from e2e.harness.registry import free_port, registry, self_signed
from e2e.harness.scripted_registry import (
    ScriptedRegistry,
    Stall,
    cut_off,
    demand_password,
    demand_token,
    refuse,
    replace_blob,
)

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

pytestmark = pytest.mark.usefixtures("node", "only_images_of_before")

FIRST, SECOND = scratch(b"first"), scratch(b"second")


async def test_one_image_by_tag_digest_and_id(node: Node) -> None:
    digest = await push(node.registry, "t/first", "1", FIRST)
    tag = f"{node.registry.host}/t/first:1"
    image_id = await pull(node.cri, tag)
    assert image_id == FIRST.config.digest
    by_tag = await present(node.cri, tag)
    assert (by_tag.id, list(by_tag.repo_tags)) == (image_id, [tag])
    assert list(by_tag.repo_digests) == [f"{node.registry.host}/t/first@{digest}"]
    assert by_tag.size > 0
    assert await known(node.cri, image_id) == by_tag
    assert await known(node.cri, by_tag.repo_digests[0]) == by_tag
    assert await known(node.cri, image_id.removeprefix("sha256:")[:12]) == by_tag
    assert by_tag in await listed(node.cri)


@pytest.mark.cri_shim_only
async def test_a_filter_lists_one_image(node: Node) -> None:
    await push(node.registry, "t/first", "1", FIRST)
    tag = f"{node.registry.host}/t/first:1"
    await pull(node.cri, tag)
    assert await listed(node.cri, tag) == [await present(node.cri, tag)]
    assert await listed(node.cri, "registry.invalid/nothing:1") == []


async def test_the_unknown_is_an_empty_answer(node: Node) -> None:
    assert await known(node.cri, "registry.invalid/nothing:1") is None
    assert await known(node.cri, "sha256:" + "0" * 64) is None
    await remove(node.cri, "registry.invalid/nothing:1")


async def test_a_pull_by_digest_has_no_tag(node: Node) -> None:
    digest = await push(node.registry, "t/first", "1", FIRST)
    reference = f"{node.registry.host}/t/first@{digest}"
    image_id = await pull(node.cri, reference)
    image = await present(node.cri, image_id)
    assert (list(image.repo_tags), list(image.repo_digests)) == ([], [reference])


async def test_three_tags_are_one_image_and_go_together(node: Node) -> None:
    tags = [f"{node.registry.host}/t/first:{number}" for number in range(3)]
    for number, tag in enumerate(tags):
        await push(node.registry, "t/first", str(number), FIRST)
        assert await pull(node.cri, tag) == FIRST.config.digest
    image = await present(node.cri, tags[0])
    assert sorted(image.repo_tags) == tags
    assert len([item for item in await listed(node.cri) if item.id == image.id]) == 1
    await remove(node.cri, tags[1])
    for reference in (*tags, image.id):
        assert await known(node.cri, reference) is None, f"{reference} is still there"


async def test_a_tag_that_moved_is_followed_by_the_next_pull(node: Node) -> None:
    tag = f"{node.registry.host}/t/moving:1"
    await push(node.registry, "t/moving", "1", FIRST)
    await pull(node.cri, tag)
    await push(node.registry, "t/moving", "1", SECOND)
    assert await pull(node.cri, tag) == SECOND.config.digest
    assert (await present(node.cri, tag)).id == SECOND.config.digest
    assert list((await present(node.cri, FIRST.config.digest)).repo_tags) == []


async def test_an_index_is_resolved_to_this_platform(node: Node) -> None:
    index = many_platforms(b"content")
    digest = await push(node.registry, "t/many", "1", index)
    assert await pull(node.cri, f"{node.registry.host}/t/many:1") == index.images[-1].config.digest
    image = await present(node.cri, index.images[-1].config.digest)
    assert list(image.repo_digests) == [f"{node.registry.host}/t/many@{digest}"]


async def test_an_index_without_this_platform_is_refused(node: Node) -> None:
    image = scratch(b"foreign", "s390x")
    await push(node.registry, "t/foreign", "1", index_of([image]))
    with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)platform|match|manifest"):
        await pull(node.cri, f"{node.registry.host}/t/foreign:1")


async def test_layers_are_put_together_in_order(node: Node, workloads: Workloads) -> None:
    base = layer_of(busybox_entries(host_busybox()))
    image = image_of([base, *layered(4, 100_000).layers], Settings(command=("sh",)))
    await push(node.registry, "t/layers", "1", image)
    reference = f"{node.registry.host}/t/layers:1"
    await pull(node.cri, reference)
    pod = await workloads.pod()
    container = await pod.sleeper(image=reference)
    assert await container.output_of("cat /top") == "layer 3"
    assert await container.output_of("ls /data") == "3"


async def test_user_of_the_image_is_told_as_number_or_name(node: Node) -> None:
    for user, expected in (("1000", (1000, "")), ("tester", (None, "tester")), ("1000:33", (1000, ""))):
        image = image_of(FIRST.layers, Settings(user=user))
        await push(node.registry, "t/user", "1", image)
        told = await present(node.cri, await pull(node.cri, f"{node.registry.host}/t/user:1"))
        uid = told.uid.value if told.HasField("uid") else None
        assert (uid, told.username) == expected


async def test_a_mirror_serves_a_registry_that_does_not_exist(node: Node) -> None:
    await push(node.registry, "t/first", "1", FIRST)
    write_mirror(node.certs_directory, "registry.invalid", node.registry)
    assert await pull(node.cri, "registry.invalid/t/first:1") == FIRST.config.digest
    image = await present(node.cri, "registry.invalid/t/first:1")
    assert list(image.repo_tags) == ["registry.invalid/t/first:1"]


async def test_names_are_normalised(node: Node) -> None:
    await push(node.registry, "library/first", "latest", FIRST)
    write_mirror(node.certs_directory, "docker.io", node.registry)
    assert await pull(node.cri, "first") == FIRST.config.digest
    image = await present(node.cri, "first")
    assert list(image.repo_tags) == ["docker.io/library/first:latest"]
    for name in ("first:latest", "docker.io/first", "docker.io/library/first:latest", "library/first"):
        assert await known(node.cri, name) == image, name


async def test_https_with_an_authority_of_its_own(node: Node, tmp_path: Path) -> None:
    certificate = await self_signed(tmp_path)
    async with registry(tmp_path / "tls", certificate) as secure:
        await push(secure, "t/first", "1", FIRST)
        write_mirror(node.certs_directory, "untrusted.invalid", secure)
        distrust(node.certs_directory, "untrusted.invalid")
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)certificate|x509"):
            await pull(node.cri, "untrusted.invalid/t/first:1")
        write_mirror(node.certs_directory, "trusted.invalid", secure)
        assert await pull(node.cri, "trusted.invalid/t/first:1") == FIRST.config.digest


async def test_the_image_filesystem_is_told(node: Node) -> None:
    answer = await node.cri.image.ImageFsInfo(criv1.ImageFsInfoRequest())
    [filesystem] = answer.image_filesystems
    assert filesystem.fs_id.mountpoint
    assert filesystem.timestamp > 0


async def test_a_deadline_ends_a_pull_and_leaves_nothing(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/slow", "1", FIRST)
    stall = Stall(FIRST.layers[0].blob.digest)
    scripted.faults.append(stall)
    request = criv1.PullImageRequest(image=criv1.ImageSpec(image=reference))
    async with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        await node.cri.image.PullImage(request, timeout=0.5)
    stall.release.set()
    assert await known(node.cri, reference) is None


async def test_a_client_that_goes_away_ends_the_pull(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/slow", "1", FIRST)
    stall = Stall(FIRST.layers[0].blob.digest)
    scripted.faults.append(stall)
    call = node.cri.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))
    async with asyncio.timeout(10):
        await stall.reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    stall.release.set()


@pytest.mark.cri_shim_only
async def test_pulls_of_one_image_at_once_load_it_once(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/once", "1", FIRST)
    identifiers = await asyncio.gather(*(pull(node.cri, reference) for _ in range(5)))
    assert set(identifiers) == {FIRST.config.digest}
    layer = FIRST.layers[0].blob.digest
    assert scripted.asked_for(f"GET /v2/t/once/blobs/{layer}") == 1


async def test_what_is_there_is_not_loaded_again(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/again", "1", FIRST)
    await pull(node.cri, reference)
    await pull(node.cri, reference)
    assert scripted.asked_for(f"GET /v2/t/again/blobs/{FIRST.layers[0].blob.digest}") == 1


async def test_a_password_is_used_where_it_is_asked_for(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", FIRST)
    scripted.faults.append(demand_password("user", "pass word"))
    for auth in (None, criv1.AuthConfig(username="user", password="wrong-secret")):
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)401|authoriz|password") as error:
            await pull(node.cri, reference, auth)
        assert scripted.host in str(error.value)
        assert "wrong-secret" not in str(error.value)
    auth = criv1.AuthConfig(username="user", password="pass word")
    assert await pull(node.cri, reference, auth) == FIRST.config.digest


async def test_a_token_is_fetched_with_the_password(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", FIRST)
    scripted.faults.append(demand_token(scripted, "user", "secret"))
    auth = criv1.AuthConfig(username="user", password="secret")
    assert await pull(node.cri, reference, auth) == FIRST.config.digest


async def test_a_missing_image_is_not_found(node: Node, scripted: ScriptedRegistry) -> None:
    async with refused(grpc.StatusCode.NOT_FOUND) as error:
        await pull(node.cri, f"{scripted.host}/t/nothing:1")
    assert f"{scripted.host}/t/nothing:1" in str(error[0].details())


async def test_an_unreachable_registry_is_named(node: Node) -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(grpc.aio.AioRpcError, match=host):
        await pull(node.cri, f"{host}/t/first:1")


async def test_a_malformed_reference_is_refused(node: Node) -> None:
    for reference in ("UPPER/case:1", "a b", "host/x:tag with space", ""):
        with pytest.raises(grpc.aio.AioRpcError):
            await pull(node.cri, reference)


@pytest.mark.cri_shim_only
async def test_too_many_requests_are_tried_again(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/busy", "1", FIRST)
    headers = {"Retry-After": "1"}
    scripted.faults.append(refuse("/manifests/", 429, "TOOMANYREQUESTS", times=1, headers=headers))
    scripted.faults.append(refuse("/blobs/", 503, "UNAVAILABLE", times=1))
    assert await pull(node.cri, reference) == FIRST.config.digest


async def test_a_corrupted_layer_is_refused(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/corrupt", "1", FIRST)
    layer = FIRST.layers[0].blob
    scripted.faults.append(replace_blob(layer.digest, bytes(reversed(layer.content))))
    with pytest.raises(grpc.aio.AioRpcError, match=layer.digest):
        await pull(node.cri, reference)
    assert await known(node.cri, reference) is None


@pytest.mark.cri_shim_only
async def test_a_layer_that_breaks_off_is_fetched_to_its_end(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/broken", "1", FIRST)
    scripted.faults.append(cut_off(FIRST.layers[0].blob, times=1))
    assert await pull(node.cri, reference) == FIRST.config.digest


async def test_a_layer_that_always_breaks_off_is_an_error(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/broken", "1", FIRST)
    scripted.faults.append(cut_off(FIRST.layers[0].blob))
    with pytest.raises(grpc.aio.AioRpcError):
        await pull(node.cri, reference)
    assert await known(node.cri, reference) is None


async def test_a_layer_that_is_no_archive_is_refused(node: Node, scripted: ScriptedRegistry) -> None:
    broken = image_of([Layer(Blob(LAYER_GZIP, b"not a gzip"), "sha256:" + "1" * 64)], Settings())
    with pytest.raises(grpc.aio.AioRpcError):
        await pull(node.cri, scripted.hold("t/broken", "1", broken))


async def test_removal_while_a_container_uses_the_image(node: Node, workloads: Workloads) -> None:
    image = busybox_image(settings=Settings(labels={"test": "in use"}))
    await push(node.registry, "t/used", "1", image)
    reference = f"{node.registry.host}/t/used:1"
    await pull(node.cri, reference)
    pod = await workloads.pod()
    container = await pod.sleeper(image=reference)
    await remove(node.cri, reference)
    assert await known(node.cri, reference) is None
    assert await container.output_of("echo alive") == "alive"
    assert (await container.status()).state == criv1.CONTAINER_RUNNING


async def test_images_of_other_clients_are_seen(node: Node, tmp_path: Path) -> None:
    name = "example.invalid/imported:1"
    (tmp_path / "image.tar").write_bytes(layout_archive({name: FIRST}))
    command = (
        "ctr",
        "-a",
        node.containerd.address,
        "-n",
        "k8s.io",
        "images",
        "import",
        tmp_path / "image.tar",
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    found = await eventually(
        lambda: known(node.cri, name), lambda image: image is not None, f"{name} is known"
    )
    assert found is not None
    assert found.id == FIRST.config.digest


async def test_five_images_at_once(node: Node) -> None:
    images = [scratch(f"image {number}".encode()) for number in range(5)]
    for number, image in enumerate(images):
        await push(node.registry, f"t/parallel-{number}", "1", image)
    references = [f"{node.registry.host}/t/parallel-{number}:1" for number in range(5)]
    pulled = await asyncio.gather(*(pull(node.cri, reference) for reference in references))
    assert list(pulled) == [image.config.digest for image in images]
