"""A CRI server in memory, over a real Unix socket: as much of the protocol as the pod tool uses."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

from api.wire import criv1 as cri
from api.wire.criv1.image_service_pb2_grpc import ImageServiceServicer, add_ImageServiceServicer_to_server
from api.wire.criv1.runtime_service_pb2_grpc import (
    RuntimeServiceServicer,
    add_RuntimeServiceServicer_to_server,
)


class CriDouble(RuntimeServiceServicer, ImageServiceServicer):
    """Pods and containers as their statuses; what each call was asked is kept in `calls`."""

    def __init__(self) -> None:
        self.images = {"docker.io/library/busybox:1": 1_100_000}
        self.sandboxes: dict[str, cri.PodSandboxStatus] = {}
        self.containers: dict[str, cri.ContainerStatus] = {}
        self.owners: dict[str, str] = {}
        self.calls: list[tuple[str, object]] = []
        self.exit_codes: dict[str, int] = {}
        """Containers that end as soon as they are started."""
        self.failing: dict[str, grpc.StatusCode] = {}
        """Calls that fail."""
        self._ids = (f"{number:064x}" for number in itertools.count(0xABC))

    def names(self) -> list[str]:
        """The calls in order."""
        return [name for name, _ in self.calls]

    async def _enter(self, name: str, request: object, context: grpc.aio.ServicerContext) -> None:
        self.calls.append((name, request))
        if name in self.failing:
            await context.abort(self.failing[name], f"{name} was told to fail")

    async def ImageStatus(self, request, context):
        await self._enter("ImageStatus", request, context)
        size = self.images.get(request.image.image)
        if size is None:
            return cri.ImageStatusResponse()
        return cri.ImageStatusResponse(image=cri.Image(id=request.image.image, size=size))

    async def PullImage(self, request, context):
        await self._enter("PullImage", request, context)
        self.images[request.image.image] = 2_000_000
        return cri.PullImageResponse(image_ref=request.image.image)

    async def RunPodSandbox(self, request, context):
        await self._enter("RunPodSandbox", request, context)
        identifier = next(self._ids)
        self.sandboxes[identifier] = cri.PodSandboxStatus(
            id=identifier,
            metadata=request.config.metadata,
            state=cri.SANDBOX_READY,
            created_at=time.time_ns(),
            network=cri.PodSandboxNetworkStatus(ip="10.1.0.2", additional_ips=[cri.PodIP(ip="fd00::2")]),
            labels=request.config.labels,
            annotations=request.config.annotations,
        )
        return cri.RunPodSandboxResponse(pod_sandbox_id=identifier)

    async def ListPodSandbox(self, request, context):
        await self._enter("ListPodSandbox", request, context)
        wanted = dict(request.filter.label_selector)
        return cri.ListPodSandboxResponse(
            items=[
                cri.PodSandbox(
                    id=each.id,
                    metadata=each.metadata,
                    state=each.state,
                    created_at=each.created_at,
                    labels=each.labels,
                    annotations=each.annotations,
                )
                for each in self.sandboxes.values()
                if wanted.items() <= dict(each.labels).items()
            ]
        )

    async def PodSandboxStatus(self, request, context):
        await self._enter("PodSandboxStatus", request, context)
        status = self.sandboxes.get(request.pod_sandbox_id)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such sandbox")
        return cri.PodSandboxStatusResponse(status=status)

    async def StopPodSandbox(self, request, context):
        await self._enter("StopPodSandbox", request, context)
        return cri.StopPodSandboxResponse()

    async def RemovePodSandbox(self, request, context):
        await self._enter("RemovePodSandbox", request, context)
        self.sandboxes.pop(request.pod_sandbox_id, None)
        for identifier in [key for key, owner in self.owners.items() if owner == request.pod_sandbox_id]:
            del self.containers[identifier], self.owners[identifier]
        return cri.RemovePodSandboxResponse()

    async def CreateContainer(self, request, context):
        await self._enter("CreateContainer", request, context)
        identifier = next(self._ids)
        self.owners[identifier] = request.pod_sandbox_id
        self.containers[identifier] = cri.ContainerStatus(
            id=identifier,
            metadata=request.config.metadata,
            state=cri.CONTAINER_CREATED,
            created_at=time.time_ns(),
            annotations=request.config.annotations,
            log_path=f"{request.sandbox_config.log_directory}/{request.config.log_path}",
        )
        return cri.CreateContainerResponse(container_id=identifier)

    async def StartContainer(self, request, context):
        await self._enter("StartContainer", request, context)
        status = self.containers[request.container_id]
        name = status.metadata.name
        if name in self.exit_codes:
            status.state = cri.CONTAINER_EXITED
            status.exit_code = self.exit_codes[name]
        else:
            status.state = cri.CONTAINER_RUNNING
        return cri.StartContainerResponse()

    async def StopContainer(self, request, context):
        await self._enter("StopContainer", request, context)
        self.containers[request.container_id].state = cri.CONTAINER_EXITED
        return cri.StopContainerResponse()

    async def ContainerStatus(self, request, context):
        await self._enter("ContainerStatus", request, context)
        return cri.ContainerStatusResponse(status=self.containers[request.container_id])

    async def ListContainers(self, request, context):
        await self._enter("ListContainers", request, context)
        wanted = request.filter.pod_sandbox_id
        return cri.ListContainersResponse(
            containers=[
                cri.Container(
                    id=each.id,
                    pod_sandbox_id=self.owners[each.id],
                    metadata=each.metadata,
                    state=each.state,
                    created_at=each.created_at,
                    annotations=each.annotations,
                )
                for each in self.containers.values()
                if not wanted or self.owners[each.id] == wanted
            ]
        )

    async def ExecSync(self, request, context):
        await self._enter("ExecSync", request, context)
        return cri.ExecSyncResponse(stdout=" ".join(request.cmd).encode(), stderr=b"warning", exit_code=7)


@contextlib.asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[CriDouble, str]]:
    """The double and its endpoint."""
    double = CriDouble()
    server = grpc.aio.server()
    add_RuntimeServiceServicer_to_server(double, server)
    add_ImageServiceServicer_to_server(double, server)
    endpoint = f"unix://{directory}/cri.sock"
    server.add_insecure_port(endpoint)
    await server.start()
    try:
        yield double, endpoint
    finally:
        await server.stop(None)
