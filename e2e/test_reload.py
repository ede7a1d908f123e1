"""SIGHUP has a running server take over its configuration, while pods run on; a faulty one is refused as a whole."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually
from e2e.harness.server import CriShim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

pytestmark = pytest.mark.cri_shim_only

SECOND = '[containerd.runtimes.second]\nruntime_type = "io.containerd.runc.v2"\n'


@pytest_asyncio.fixture(loop_scope="session")
async def server(node: Node) -> AsyncIterator[CriShim]:
    assert isinstance(node.server, CriShim)
    yield node.server
    node.server.write_configuration()
    await reloaded(node.server)


async def reloaded(server: CriShim) -> str:
    """Send SIGHUP and return what the server logs until it is done."""
    before = len(server.log_file.read_text())
    os.kill(server.pid, signal.SIGHUP)

    async def said() -> str:
        return server.log_file.read_text()[before:]

    return await eventually(
        said, lambda text: "configuration read again" in text or "configuration refused" in text, "a reload"
    )


async def test_a_handler_and_a_pinned_image_come_and_go_while_a_pod_runs(
    server: CriShim, node: Node, workloads: Workloads
) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    async with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await workloads.pod(runtime_handler="second")
    server.write_configuration(SECOND, 'pinned_images = ["*busybox*"]\ngrpc.uid = 12\n')
    said = await reloaded(server)
    assert re.search(r"key changed key=pinned_images before=\S+ after=", said), said
    assert "key changed key=containerd.runtimes.second" in said
    assert "key needs a restart key=grpc.uid in_effect=0 configured=12" in said
    second = await workloads.pod(runtime_handler="second")
    await second.sleeper()
    assert await pinned(node)
    assert (await container.status()).state == criv1.CONTAINER_RUNNING

    server.write_configuration()
    await reloaded(server)
    assert not await pinned(node)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await workloads.pod(runtime_handler="second")
    await second.remove()  # a pod whose handler has gone can still be removed


async def test_a_faulty_file_is_refused_with_every_reason(server: CriShim, node: Node) -> None:
    server.write_configuration("[nonsense]\n", 'pinned_images = ["*"]\nmax_concurrent_downloads = 0\n')
    said = await reloaded(server)
    assert said.count("configuration refused") == 2, said
    assert "nonsense: unknown key" in said
    assert "max_concurrent_downloads: 0 is too low" in said
    assert not await pinned(node), "nothing of a faulty file is in effect"


async def pinned(node: Node) -> bool:
    request = criv1.ImageStatusRequest(image=criv1.ImageSpec(image=node.busybox))
    return bool((await node.cri.image.ImageStatus(request)).image.pinned)
