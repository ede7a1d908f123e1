"""Images and containers that want the server to touch the host in their stead, by links among their own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from cri.app.built_image import Entry, Settings
from cri.app.host_images import busybox_image
from e2e.harness.cri import refused
from e2e.harness.pulled import pulled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Pod, Workloads

pytestmark = pytest.mark.cri_shim_only


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the host that nobody is given."""
    place = tmp_path_factory.mktemp("secrets")
    (place / "passwd").write_text("intruder:x:4242:4242:::\n")
    (place / "group").write_text("intruders:x:4242:intruder\n")
    (place / "key").write_text("of the host\n")
    return place


@pytest.fixture
def untouched(secrets: Path) -> object:
    before = {path.name: (path.read_bytes(), path.stat().st_mode) for path in secrets.iterdir()}
    yield
    after = {path.name: (path.read_bytes(), path.stat().st_mode) for path in secrets.iterdir()}
    assert after == before, "something was written on the host"


@pytest_asyncio.fixture(loop_scope="session")
async def treacherous(node: Node, secrets: Path, untouched: None) -> AsyncIterator[str]:
    """An image whose account files, volume, working directory, /etc and /dev files are links to the host's."""
    links = {
        "etc/passwd": secrets / "passwd",
        "etc/group": secrets / "group",
        "etc/resolv.conf": secrets / "key",
        "etc/hostname": secrets / "key",
        "etc/hosts": f"../../../../../../../..{secrets}/key",
        "volume": secrets,
        "work": f"{secrets}/made",
        "mounted": secrets,
    }
    entries = tuple(Entry(name, symlink=str(target)) for name, target in links.items())
    image = busybox_image(entries, Settings(command=("sh",), volumes=("/volume",)))
    async with pulled(node, "e2e/treacherous", image) as reference:
        yield reference


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


async def test_names_of_users_are_not_looked_up_on_the_host(pod: Pod, treacherous: str) -> None:
    context = criv1.LinuxContainerSecurityContext(run_as_username="intruder")
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(image=treacherous, security=context)
    assert "intruder" in str(error[0].details())


async def test_a_volume_that_is_a_link_has_nothing_of_the_host(pod: Pod, treacherous: str) -> None:
    container = await pod.sleeper(image=treacherous)
    assert "passwd" not in await container.output_of("ls -R /volume")
    await container.output_of("echo mine > /volume/key; echo mine > /volume/new || true")


async def test_what_is_mounted_over_links_stays_inside(pod: Pod, treacherous: str, tmp_path: Path) -> None:
    mount = criv1.Mount(container_path="/mounted/below", host_path=str(tmp_path))
    container = await pod.sleeper(image=treacherous, mounts=[mount])
    for name in ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"):
        assert "of the host" not in await container.output_of(f"cat {name}")


async def test_a_volume_of_an_image_does_not_lead_out_of_it(pod: Pod, treacherous: str) -> None:
    for below in ("mounted", "etc/passwd", "work"):
        volume = criv1.Mount(
            container_path="/from-image",
            image=criv1.ImageSpec(image=treacherous),
            image_sub_path=below,
            readonly=True,
        )
        async with refused(
            grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
        ):
            await pod.create(mounts=[volume])


async def test_a_log_directory_that_a_pod_turns_into_a_link_is_not_followed(
    workloads: Workloads, secrets: Path, untouched: None
) -> None:
    config = workloads.config()
    directory = workloads.logs / config.log_directory.rpartition("/")[2]
    pod = await workloads.pod_as(config)
    mount = criv1.Mount(container_path="/logs", host_path=str(directory))
    writer = await pod.sleeper("writer", log_path="writer/0.log", mounts=[mount])
    await writer.output_of(
        f"mv /logs/writer /logs/aside; ln -s {secrets} /logs/writer; ln -s {secrets} /logs/next"
    )
    async with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await pod.cri.runtime.ReopenContainerLog(criv1.ReopenContainerLogRequest(container_id=writer.id))
    async with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await pod.run("next", log_path="next/0.log")
    assert sorted(path.name for path in secrets.iterdir()) == ["group", "key", "passwd"]
