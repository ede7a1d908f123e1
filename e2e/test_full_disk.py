"""A node that has everything on one small disk, and the disk is full: what is refused, what goes on, what is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.catalogue import layered
from e2e.harness.cri import container_config, refused
from e2e.harness.eventually import eventually
from e2e.harness.image_service import known, pull, remove
from e2e.harness.leftovers import holdings, lasting_leftovers
from e2e.harness.log_lines import joined, log_lines
from e2e.harness.neighbours import output_of
from e2e.harness.node import CRI_SHIM, assemble, short_directory
from e2e.harness.patience import patiently
from e2e.harness.push import push
from e2e.harness.workload import Workloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Container

pytestmark = [pytest.mark.cri_shim_only, pytest.mark.timeout(600)]

DISK = 256 << 20
PIECES = (1 << 20, 4096, 1)
NOTICED_SECONDS = patiently(60)
COUNTING = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"


@pytest_asyncio.fixture(loop_scope="session")
async def cramped(node: Node) -> AsyncIterator[Node]:
    """A second node: containerd, server and logs are on an ext4 of their own, where a directory needs a block, too."""
    home = short_directory("e2e-full")
    image, disk = home / "disk.img", home / "node"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK)
    await output_of("mke2fs", "-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", image)
    await output_of("mount", "-o", "loop", image, disk)
    try:
        (disk / "lost+found").rmdir()
        async with contextlib.AsyncExitStack() as stack:
            yield await assemble(stack, CRI_SHIM, home, node.registry)
    finally:
        if disk.is_mount():  # an embedded containerd that ends unmounts what is below its directory
            await output_of("umount", disk)
        shutil.rmtree(home)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is free within the block."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for size in PIECES:
                with no_space():
                    while True:
                        file.write(bytes(size))
        os.sync()
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def no_space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


async def lost_lines(container: Container) -> int:
    """What the log keeper has counted as lost."""
    request = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
    answer = await container.cri.runtime.ContainerStatus(request)
    lost: int = json.loads(answer.info["log"])["lost_lines"]
    return lost


async def test_a_full_disk_is_told_and_overcome(cramped: Node) -> None:
    node, disk = cramped, cramped.directory
    reference = f"{node.registry.host}/t/on-a-full-disk:1"
    await push(node.registry, "t/on-a-full-disk", "1", layered(2, 1_000_000, seed=9))
    before = await holdings(node.containerd, node.server.directories, node.cgroup_parent)
    workloads = Workloads(node.cri, disk / "logs", node.busybox, node.cgroup_parent)
    pod, doomed = await workloads.pod("before"), await workloads.pod("doomed")
    writer = await pod.run("writer", command=["sh", "-c", COUNTING])
    created = await pod.create("created")
    await doomed.sleeper()
    config = workloads.config("refused")
    new = criv1.RunPodSandboxRequest(config=config)
    with full(disk):
        for call in (
            lambda: node.cri.runtime.RunPodSandbox(new),
            lambda: pod.create_as(container_config("refused", node.busybox)),
            created.start,
            lambda: pull(node.cri, reference),
        ):
            async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED) as caught:
                await call()
            assert "space" in str(caught[0].details()), caught[0].details()
        assert await known(node.cri, reference) is None
        await eventually(lambda: lost_lines(writer), lambda lost: lost > 0, "lines lost", NOTICED_SECONDS)
        assert (await writer.status()).state == criv1.CONTAINER_RUNNING, "it is not held up by its log"
        await workloads.remove([doomed])
        assert (await created.status()).state in {criv1.CONTAINER_CREATED, criv1.CONTAINER_EXITED}
    lost = await lost_lines(writer)
    at = len(joined(log_lines(writer.log_file), "stdout"))
    await eventually(
        lambda: _lines(writer), lambda lines: len(lines) > at + 10, "the log goes on", NOTICED_SECONDS
    )
    numbers = [int(line) for line in await _lines(writer)]
    missing = numbers[-1] - len(numbers)
    assert len(set(numbers)) == len(numbers), "no line is there twice"
    assert lost <= missing == await lost_lines(writer), "every line is in the log or counted as lost"
    after = await workloads.pod_as(config)
    assert (await (await after.sleeper()).output_of("echo alive")) == "alive"
    await pull(node.cri, reference)
    await remove(node.cri, reference)
    await workloads.remove()
    left = await lasting_leftovers(before, node.containerd, node.server.directories, node.cgroup_parent)
    assert not left, left


async def _lines(container: Container) -> list[bytes]:
    return joined(log_lines(container.log_file), "stdout")
