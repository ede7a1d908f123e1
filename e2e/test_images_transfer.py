"""Pulls by containerd's transfer service where it has one (2.0 and later), and by the server itself where not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.catalogue import layered
from e2e.harness.certs import write_mirror
from e2e.harness.configured import configured
from e2e.harness.containerd_version import installed_version
from e2e.harness.image_service import known, present, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.scripted_registry import Stall, demand_password, demand_token, replace_blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import ScriptedRegistry

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

IMAGE = layered(3, 200_000)


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def wanted(node: Node) -> AsyncIterator[None]:
    """The server told to leave pulls to containerd."""
    async with configured(node, keys='image_pull_engine = "transfer"\n'):
        yield


def reported(node: Node, reference: str) -> str:
    """The last line that the server wrote about a pull."""
    lines = node.server.log_file.read_text().splitlines()
    return next(line for line in reversed(lines) if "image pulled" in line and reference in line)


def engine() -> str:
    """Who pulls where the configuration wants the transfer service."""
    return "transfer" if installed_version() >= (2, 0) else "local"


async def test_credentials_reach_the_transfer_service(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", IMAGE)
    auth = criv1.AuthConfig(username="user", password="transferred-secret")
    for demand in (
        demand_password("user", "transferred-secret"),
        demand_token(scripted, "user", "transferred-secret"),
    ):
        scripted.faults[:] = [demand]
        assert await pull(node.cri, reference, auth) == IMAGE.config.digest
        assert f"engine={engine()}" in reported(node, reference)
        await remove(node.cri, reference)
    with pytest.raises(grpc.aio.AioRpcError, match=r"401|access denied|wants a user name"):
        await pull(node.cri, reference)
    assert "transferred-secret" not in node.server.log_file.read_text()
    assert "transferred-secret" not in node.containerd.layout.log_file.read_text()


async def test_mirrors_reach_the_transfer_service(node: Node) -> None:
    await push(node.registry, "t/engines", "1", IMAGE)
    write_mirror(node.certs_directory, "transferred.invalid", node.registry)
    assert await pull(node.cri, "transferred.invalid/t/engines:1") == IMAGE.config.digest
    assert f"engine={engine()}" in reported(node, "transferred.invalid/t/engines:1")


async def test_what_the_transfer_cannot_do_is_explained(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/corrupt", "1", IMAGE)
    layer = IMAGE.layers[1].blob
    scripted.faults.append(replace_blob(layer.digest, bytes(reversed(layer.content))))
    with pytest.raises(grpc.aio.AioRpcError, match=layer.digest):
        await pull(node.cri, reference)
    assert await known(node.cri, reference) is None


async def test_a_cancelled_transfer_leaves_nothing(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/slow", "1", IMAGE)
    stall = Stall(IMAGE.layers[1].blob.digest)
    scripted.faults.append(stall)
    call = node.cri.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))
    async with asyncio.timeout(10):
        await stall.reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    stall.release.set()
    assert await known(node.cri, reference) is None


async def test_both_engines_have_the_same_result(node: Node) -> None:
    digest = await push(node.registry, "t/engines", "1", IMAGE)
    reference = f"{node.registry.host}/t/engines:1"
    assert await pull(node.cri, reference) == IMAGE.config.digest
    by_containerd = await present(node.cri, reference)
    assert f"engine={engine()}" in reported(node, reference)
    assert "reused_layers=0" in reported(node, reference)
    assert list(by_containerd.repo_digests) == [f"{node.registry.host}/t/engines@{digest}"]
    await remove(node.cri, reference)
    await collect_garbage(node.containerd.address)
    # The last test of the file: it leaves the server with its usual configuration.
    async with configured(node, keys='image_pull_engine = "local"\n'):
        assert await pull(node.cri, reference) == IMAGE.config.digest
        assert "engine=local" in reported(node, reference)
        assert await present(node.cri, reference) == by_containerd
