"""Exec, Attach and PortForward over a real socket: what is checked, and that URLs lead to the stream server."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from api.containerd import Client
from api.cri import CriClient
from api.wire import criv1
from tests.double import ContainerdDouble
from tests.node import DoubleNode, double_node
from tests.stream.stream_clients import SocketClient, SpdyClient


@pytest_asyncio.fixture
async def node(containerd: ContainerdDouble, client: Client, tmp_path: Path) -> AsyncIterator[DoubleNode]:
    async with double_node(containerd, client, tmp_path) as made:
        await made.on.streams.start()
        made.supervisor.keep("streams", made.on.streams.run)
        yield made
        made.on.streams.close()


async def refused(call, code: grpc.StatusCode, words: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code
    assert words in (caught.value.details() or "")


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"container_id": "", "stdout": True}, grpc.StatusCode.INVALID_ARGUMENT, "container_id"),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "none of stdin, stdout and stderr"),
        ({"stderr": True, "tty": True}, grpc.StatusCode.INVALID_ARGUMENT, "tty and stderr"),
        ({"container_id": "f" * 64, "stdout": True}, grpc.StatusCode.NOT_FOUND, "f" * 13),
    ],
)
@pytest.mark.parametrize("kind", ["Exec", "Attach"])
async def test_requests_that_are_refused(
    node: DoubleNode, cri: CriClient, kind: str, fields: dict[str, object], code: grpc.StatusCode, words: str
):
    _, container = await node.running()
    settings = {"container_id": container, **fields}
    if kind == "Exec":
        settings["cmd"] = ["true"]
    request = getattr(criv1, f"{kind}Request")(**settings)
    await refused(getattr(cri.runtime, kind)(request), code, words)


async def test_what_does_not_run_has_no_streams(node: DoubleNode, cri: CriClient):
    pod, container = await node.running()
    await node.containers.stop(container, 0)
    state = grpc.StatusCode.FAILED_PRECONDITION
    exec_ = criv1.ExecRequest(container_id=container, cmd=["true"], stdout=True)
    await refused(cri.runtime.Exec(exec_), state, "CONTAINER_EXITED")
    attach = criv1.AttachRequest(container_id=container, stdout=True)
    await refused(cri.runtime.Attach(attach), state, "CONTAINER_EXITED")
    await node.sandboxes.stop(pod)
    await refused(cri.runtime.PortForward(criv1.PortForwardRequest(pod_sandbox_id=pod)), state, "not ready")


@pytest.mark.parametrize(
    ("fields", "words"),
    [({}, "pod_sandbox_id"), ({"port": [0]}, "port 0"), ({"port": [70000]}, "port 70000")],
)
async def test_port_forwards_that_are_refused(
    node: DoubleNode, cri: CriClient, fields: dict[str, list[int]], words: str
):
    pod = "" if not fields else await node.sandboxes.run(node.pod_config(), "")
    request = criv1.PortForwardRequest(pod_sandbox_id=pod, **fields)
    await refused(cri.runtime.PortForward(request), grpc.StatusCode.INVALID_ARGUMENT, words)


async def test_an_exec_through_its_url(node: DoubleNode, cri: CriClient):
    _, container = await node.running()
    request = criv1.ExecRequest(container_id=container, cmd=["cat"], stdin=True, stdout=True)
    url = (await cri.runtime.Exec(request)).url
    async with SocketClient.connect(url, "v5.channel.k8s.io") as client:
        await client.send(b"\x00hello")
        await client.send(b"\xff\x00")
        await client.until(lambda: client.closed)
        assert client.content(1) == b"hello"
    assert not node.containerd.leftovers().execs


async def test_a_port_forward_through_its_url(node: DoubleNode, cri: CriClient):
    pod = await node.sandboxes.run(node.pod_config(), "")
    url = (await cri.runtime.PortForward(criv1.PortForwardRequest(pod_sandbox_id=pod))).url
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
    async with SpdyClient.connect(url, "portforward.k8s.io") as client:
        error = await client.open(streamtype="error", port=port, requestid="0")
        await client.open(streamtype="data", port=port, requestid="0")
        assert f"port {port}".encode() in await client.content(error)
