"""Mounts as the process inside sees them: read-only to the bottom, images as volumes, anonymous volumes, refusals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.catalogue import documents, with_volumes
from e2e.harness.cri import refused
from e2e.harness.leftovers import collect_garbage
from e2e.harness.pulled import pulled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

pytestmark = pytest.mark.cri_shim_only


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


@pytest_asyncio.fixture(loop_scope="session")
async def documents_image(node: Node) -> AsyncIterator[str]:
    async with pulled(node, "e2e/documents", documents()) as reference:
        yield reference


@pytest_asyncio.fixture(loop_scope="session")
async def volumes_image(node: Node) -> AsyncIterator[str]:
    async with pulled(node, "e2e/volumes", with_volumes()) as reference:
        yield reference


@pytest_asyncio.fixture(loop_scope="session")
async def mounted_below(tmp_path: Path) -> AsyncIterator[Path]:
    """A directory with another file system mounted below it."""
    (tmp_path / "below").mkdir()
    await run("mount", "-t", "tmpfs", "below", str(tmp_path / "below"))
    yield tmp_path
    await run("umount", "--lazy", str(tmp_path / "below"))


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, f"{' '.join(command)} failed"


def image_mount(image: str, sub_path: str = "", **settings: object) -> criv1.Mount:
    settings.setdefault("readonly", True)
    return criv1.Mount(
        container_path="/volume", image=criv1.ImageSpec(image=image), image_sub_path=sub_path, **settings
    )


async def writable(container: Container, directory: str) -> bool:
    return (await container.execute("touch", f"{directory}/probe")).exit_code == 0


async def test_read_only_reaches_to_the_bottom_only_when_asked(pod: Pod, mounted_below: Path) -> None:
    host_path = str(mounted_below)
    container = await pod.sleeper(
        mounts=[
            criv1.Mount(container_path="/plain", host_path=host_path, readonly=True),
            criv1.Mount(container_path="/deep", host_path=host_path, readonly=True, recursive_read_only=True),
        ]
    )
    assert not await writable(container, "/plain")
    assert await writable(container, "/plain/below")
    assert not await writable(container, "/deep")
    assert not await writable(container, "/deep/below")


async def test_conditions_of_recursive_read_only_are_named(pod: Pod, tmp_path: Path) -> None:
    writable_mount = criv1.Mount(container_path="/a", host_path=str(tmp_path), recursive_read_only=True)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(mounts=[writable_mount])
    assert "readonly" in str(error[0].details())


async def test_the_handler_tells_what_it_can(node: Node) -> None:
    status = await node.cri.runtime.Status(criv1.StatusRequest())
    features = {handler.name: handler.features for handler in status.runtime_handlers}
    assert features[""].recursive_read_only_mounts, "runc 1.1 and this kernel have it"
    assert features[""] == features["runc"]


async def test_an_image_is_a_volume(pod: Pod, documents_image: str) -> None:
    container = await pod.sleeper(mounts=[image_mount(documents_image)])
    assert await container.output_of("cat /volume/top.txt /volume/data/replaced.txt") == "top\nnew"
    owner = await container.output_of("stat -c '%u:%g %a' /volume/data/deep/note.txt")
    assert owner == "1000:50000 640"
    assert not await writable(container, "/volume")
    (mount,) = (await container.status()).mounts
    listed = await pod.cri.image.ImageStatus(criv1.ImageStatusRequest(image=mount.image))
    assert mount.image.image_ref == listed.image.id


async def test_programs_of_an_image_volume_run(pod: Pod, node: Node) -> None:
    container = await pod.sleeper(mounts=[image_mount(node.busybox)])
    assert await container.output_of("/volume/bin/busybox echo run") == "run"


@pytest.mark.parametrize(
    ("sub_path", "seen"), [("data/deep", "note.txt"), ("inside", "note.txt"), ("./data//deep/", "note.txt")]
)
async def test_a_part_of_an_image(pod: Pod, documents_image: str, sub_path: str, seen: str) -> None:
    container = await pod.sleeper(mounts=[image_mount(documents_image, sub_path)])
    assert await container.output_of("ls /volume") == seen


@pytest.mark.parametrize("sub_path", ["no/such", "outside", "top.txt", "../..", "/data"])
async def test_parts_that_an_image_does_not_have(pod: Pod, documents_image: str, sub_path: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(mounts=[image_mount(documents_image, sub_path)])
    assert str(error[0].details()).startswith("ImageVolumeMountFailed")


async def test_an_image_volume_that_cannot_be(pod: Pod, documents_image: str, tmp_path: Path) -> None:
    for mount in (
        image_mount("registry.invalid/not/pulled:1"),
        image_mount(documents_image, readonly=False),
        image_mount(documents_image, host_path=str(tmp_path)),
        image_mount(""),
    ):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION) as error:
            await pod.create(mounts=[mount])
        assert str(error[0].details()).startswith("ImageVolumeMountFailed")


async def test_an_image_volume_outlives_its_image_a_restart_and_the_garbage_collector(
    pod: Pod, node: Node, documents_image: str
) -> None:
    first = await pod.sleeper("first", mounts=[image_mount(documents_image)])
    await collect_garbage(node.containerd.address)
    await node.server.stop()
    await node.server.start()
    second = await pod.sleeper("second", mounts=[image_mount(documents_image)])
    image = criv1.ImageSpec(image=documents_image)
    await node.cri.image.RemoveImage(criv1.RemoveImageRequest(image=image))
    await collect_garbage(node.containerd.address)
    for container in (first, second):
        assert await container.output_of("cat /volume/data/deep/note.txt") == "note"
    await first.remove()
    assert await second.output_of("cat /volume/top.txt") == "top", "the pod's containers share the mount"


async def test_anonymous_volumes_have_the_images_contents(pod: Pod, volumes_image: str) -> None:
    container = await pod.sleeper(image=volumes_image)
    assert await container.output_of("stat -c '%u:%g %a' /var/store /var/store/first") == (
        "1000:50000 750\n1000:50000 640"
    )
    assert await container.output_of("cat /var/store/link; readlink /var/store/link") == (
        "from the image\nfirst"
    )
    assert await container.output_of("stat -c %h /var/store/twin") == "2", "hard links stay hard links"
    points = await container.output_of("cut -d' ' -f5 /proc/self/mountinfo")
    assert {"/var/store", "/var/empty"} <= set(points.splitlines())
    await container.output_of("echo changed > /var/store/first; echo > /var/empty/new")
    other = await pod.sleeper("other", image=volumes_image)
    assert await other.output_of("cat /var/store/first; ls /var/empty") == "from the image"


async def test_a_mount_of_the_request_replaces_an_anonymous_volume(
    pod: Pod, volumes_image: str, tmp_path: Path
) -> None:
    mount = criv1.Mount(container_path="/var/store/", host_path=str(tmp_path / "own"))
    container = await pod.sleeper(image=volumes_image, mounts=[mount])
    assert await container.output_of("ls /var/store") == ""


async def test_links_in_a_host_path_are_followed(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("here\n")
    (tmp_path / "link").symlink_to("real")
    mount = criv1.Mount(container_path="/data", host_path=str(tmp_path / "link"))
    container = await pod.sleeper(mounts=[mount])
    assert await container.output_of("cat /data/file") == "here"


@pytest.mark.parametrize(
    "propagation", [criv1.PROPAGATION_HOST_TO_CONTAINER, criv1.PROPAGATION_BIDIRECTIONAL]
)
async def test_a_private_source_cannot_propagate(
    workloads: Workloads, mounted_below: Path, propagation: criv1.MountPropagation.ValueType
) -> None:
    pod = await workloads.pod(privileged=True)
    await run("mount", "--make-private", str(mounted_below / "below"))
    mount = criv1.Mount(
        container_path="/data", host_path=str(mounted_below / "below"), propagation=propagation
    )
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(mounts=[mount])
    assert "--make-rshared" in str(error[0].details()), "the remedy is named"


async def test_the_pods_own_files(workloads: Workloads) -> None:
    dns = criv1.DNSConfig(servers=["192.0.2.53"], searches=["svc.test"], options=["ndots:5"])
    pod = await workloads.pod("named", dns=dns)
    first, second = await pod.sleeper("first"), await pod.sleeper("second")
    resolv_conf = "search svc.test\nnameserver 192.0.2.53\noptions ndots:5"
    assert await first.output_of("cat /etc/resolv.conf") == resolv_conf
    assert await first.output_of("cat /etc/hostname; hostname") == "named\nnamed"
    await first.output_of("echo shared > /dev/shm/note")
    assert await second.output_of("cat /dev/shm/note") == "shared"
    kind = await first.output_of("stat -f -c %T /dev/shm; stat -c %a /dev/shm")
    assert kind == "tmpfs\n1777"


async def test_a_read_only_root_has_read_only_files_and_writable_shm(pod: Pod) -> None:
    security = criv1.LinuxContainerSecurityContext(readonly_rootfs=True)
    container = await pod.sleeper(security=security)
    assert not await writable(container, "/tmp")
    assert not await writable(container, "/etc")
    assert (await container.execute("sh", "-c", "echo > /etc/hostname")).exit_code != 0
    assert await writable(container, "/dev/shm")


async def test_a_volume_directory_is_made_where_the_image_has_none(pod: Pod, tmp_path: Path) -> None:
    mount = criv1.Mount(container_path="/new/place/deep", host_path=str(tmp_path))
    container = await pod.sleeper(mounts=[mount])
    assert await writable(container, "/new/place/deep")
    assert (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("mount", "named"),
    [
        (criv1.Mount(container_path="relative", host_path="/tmp"), "container_path"),
        (criv1.Mount(container_path="/a", host_path="relative"), "host_path"),
        (criv1.Mount(container_path="/a", host_path="/proc/self/mem/x"), "host_path"),
        (criv1.Mount(container_path="/a", host_path=""), "host_path"),
        (criv1.Mount(container_path="/a", host_path="/tmp", propagation=7), "propagation"),
    ],
)
async def test_impossible_mounts_are_named(pod: Pod, mount: criv1.Mount, named: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(mounts=[mount])
    assert named in str(error[0].details())
