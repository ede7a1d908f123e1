"""The small CRI client against a server that answers a few calls."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from api.cri import CriClient, CriError
from api.wire import criv1


class Runtime(criv1.RuntimeServiceServicer):
    """Answers what the tests ask; all else is unimplemented."""

    async def Version(self, request, context):
        return criv1.VersionResponse(runtime_name="fake", runtime_api_version="v1")

    async def ExecSync(self, request, context):
        return criv1.ExecSyncResponse(stdout=" ".join(request.cmd).encode(), exit_code=request.timeout)

    async def ListPodSandbox(self, request, context):
        wanted = dict(request.filter.label_selector)
        pods = [criv1.PodSandbox(id="p1", labels={"a": "1"}), criv1.PodSandbox(id="p2")]
        return criv1.ListPodSandboxResponse(
            items=[pod for pod in pods if wanted.items() <= dict(pod.labels).items()]
        )

    async def ListContainers(self, request, context):
        return criv1.ListContainersResponse(
            containers=[criv1.Container(id="c", pod_sandbox_id=request.filter.pod_sandbox_id)]
        )

    async def ContainerStatus(self, request, context):
        await context.abort(grpc.StatusCode.NOT_FOUND, f"container {request.container_id} not found")

    async def GetContainerEvents(self, request, context):
        yield criv1.ContainerEventResponse(container_id="c")


@pytest_asyncio.fixture
async def address() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="cri-", dir="/tmp") as directory:
        server = grpc.aio.server()
        criv1.add_RuntimeServiceServicer_to_server(Runtime(), server)
        server.add_insecure_port(f"unix:{directory}/cri.sock")
        await server.start()
        yield f"{directory}/cri.sock"
        await server.stop(None)


async def test_conveniences(address: str) -> None:
    async with CriClient(f"unix://{address}") as client:
        assert client.address == address
        assert (await client.version(deadline_seconds=5)).runtime_name == "fake"
        answer = await client.exec_sync("c", ["echo", "hi"], 3)
        assert (answer.stdout, answer.exit_code) == (b"echo hi", 3)
        assert [pod.id for pod in await client.sandboxes()] == ["p1", "p2"]
        assert [pod.id for pod in await client.sandboxes({"a": "1"})] == ["p1"]
        assert [container.pod_sandbox_id for container in await client.containers("p1")] == ["p1"]
        assert [event.container_id async for event in client.events()] == ["c"]


async def test_errors_have_code_and_details(address: str) -> None:
    async with CriClient(address) as client:
        with pytest.raises(CriError) as raised:
            await client.container_status("nope")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert raised.value.details() == "container nope not found"
        with pytest.raises(CriError) as raised:
            await client.pull("busybox")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
