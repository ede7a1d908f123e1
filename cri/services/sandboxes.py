"""RuntimeService: the RPCs on pod sandboxes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container.inspection import runtime_spec
from cri.errors import InvalidArgument
from cri.sandbox import status
from cri.sandbox.pod_view import pod_view
from cri.services.encoding import Encoded
from cri.services.list_entries import sandbox_entry
from cri.services.rpc import rpc

if TYPE_CHECKING:
    from cri.services.collaborators import Collaborators


class SandboxCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @rpc
    async def RunPodSandbox(self, request: criv1.RunPodSandboxRequest) -> criv1.RunPodSandboxResponse:
        if not request.HasField("config"):
            raise InvalidArgument("config is missing: a pod sandbox needs a PodSandboxConfig")
        identifier = await self.on.sandboxes.run(request.config, request.runtime_handler)
        return criv1.RunPodSandboxResponse(pod_sandbox_id=identifier)

    @rpc
    async def StopPodSandbox(self, request: criv1.StopPodSandboxRequest) -> criv1.StopPodSandboxResponse:
        await self.on.sandboxes.stop(request.pod_sandbox_id)
        return criv1.StopPodSandboxResponse()

    @rpc
    async def RemovePodSandbox(
        self, request: criv1.RemovePodSandboxRequest
    ) -> criv1.RemovePodSandboxResponse:
        await self.on.sandboxes.remove(request.pod_sandbox_id)
        return criv1.RemovePodSandboxResponse()

    @rpc
    async def PodSandboxStatus(
        self, request: criv1.PodSandboxStatusRequest
    ) -> criv1.PodSandboxStatusResponse:
        sandbox = self.on.sandboxes.get(request.pod_sandbox_id)
        info = {}
        if request.verbose:
            info = status.verbose_info(sandbox, await runtime_spec(self.on.engine, sandbox.id))
            timeline = self.on.timelines.of_uid(sandbox.config.metadata.uid)
            if timeline is not None:
                info["timeline"] = json.dumps(timeline)
        view = pod_view(self.on.engine, sandbox)
        return criv1.PodSandboxStatusResponse(
            status=view.sandbox, info=info, containers_statuses=view.containers, timestamp=view.timestamp
        )

    @rpc
    async def ListPodSandbox(self, request: criv1.ListPodSandboxRequest) -> Encoded:
        return Encoded.of(map(sandbox_entry, self.on.sandboxes.matching(request.filter)))

    @rpc
    async def UpdatePodSandboxResources(
        self, request: criv1.UpdatePodSandboxResourcesRequest
    ) -> criv1.UpdatePodSandboxResourcesResponse:
        await self.on.sandboxes.update_resources(request)
        return criv1.UpdatePodSandboxResourcesResponse()
