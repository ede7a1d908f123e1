"""RuntimeService: the RPCs on containers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container import status
from cri.container.inspection import log_counters, runtime_spec
from cri.errors import InvalidArgument
from cri.services.encoding import Encoded
from cri.services.list_entries import container_entry
from cri.services.rpc import rpc

if TYPE_CHECKING:
    from cri.services.collaborators import Collaborators


class ContainerCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @rpc
    async def CreateContainer(self, request: criv1.CreateContainerRequest) -> criv1.CreateContainerResponse:
        if not request.HasField("config"):
            raise InvalidArgument("config is missing: a container needs a ContainerConfig")
        identifier = await self.on.containers.create(request.pod_sandbox_id, request.config)
        return criv1.CreateContainerResponse(container_id=identifier)

    @rpc
    async def StartContainer(self, request: criv1.StartContainerRequest) -> criv1.StartContainerResponse:
        await self.on.containers.start(request.container_id)
        return criv1.StartContainerResponse()

    @rpc
    async def StopContainer(self, request: criv1.StopContainerRequest) -> criv1.StopContainerResponse:
        await self.on.containers.stop(request.container_id, request.timeout)
        return criv1.StopContainerResponse()

    @rpc
    async def RemoveContainer(self, request: criv1.RemoveContainerRequest) -> criv1.RemoveContainerResponse:
        await self.on.containers.remove(request.container_id)
        return criv1.RemoveContainerResponse()

    @rpc
    async def ContainerStatus(self, request: criv1.ContainerStatusRequest) -> criv1.ContainerStatusResponse:
        container = self.on.containers.get(request.container_id)
        image = self.on.engine.images.find(container.record.image_id)
        info = {}
        if request.verbose:
            info = status.verbose_info(container, await runtime_spec(self.on.engine, container.id))
            info["log"] = json.dumps(await log_counters(self.on.engine, container.id))
            info["timeline"] = json.dumps({"operations": self.on.timelines.of_container(container.id)})
        return criv1.ContainerStatusResponse(status=status.status_message(container, image), info=info)

    @rpc
    async def ListContainers(self, request: criv1.ListContainersRequest) -> Encoded:
        return Encoded.of(map(container_entry, self.on.containers.matching(request.filter)))

    @rpc
    async def CheckpointContainer(
        self, request: criv1.CheckpointContainerRequest
    ) -> criv1.CheckpointContainerResponse:
        await self.on.containers.checkpoint(request.container_id, request.location, request.timeout)
        return criv1.CheckpointContainerResponse()

    @rpc
    async def UpdateContainerResources(
        self, request: criv1.UpdateContainerResourcesRequest
    ) -> criv1.UpdateContainerResourcesResponse:
        await self.on.containers.update(request.container_id, request.linux)
        return criv1.UpdateContainerResourcesResponse()

    @rpc
    async def ExecSync(self, request: criv1.ExecSyncRequest) -> criv1.ExecSyncResponse:
        result = await self.on.containers.exec_sync(request.container_id, list(request.cmd), request.timeout)
        return criv1.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)

    @rpc
    async def ReopenContainerLog(
        self, request: criv1.ReopenContainerLogRequest
    ) -> criv1.ReopenContainerLogResponse:
        await self.on.containers.reopen_log(request.container_id)
        return criv1.ReopenContainerLogResponse()
