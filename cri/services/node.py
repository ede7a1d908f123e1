"""RuntimeService: the RPCs on the node as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.sandbox import node_status
from cri.sandbox.pod_cidrs import update_pod_cidrs
from cri.services.rpc import early_rpc, rpc

if TYPE_CHECKING:
    from cri.services.collaborators import Collaborators


class NodeCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @early_rpc
    async def Version(self, request: criv1.VersionRequest) -> criv1.VersionResponse:
        return node_status.version_message(self.on.releases)

    @early_rpc
    async def Status(self, request: criv1.StatusRequest) -> criv1.StatusResponse:
        return criv1.StatusResponse(
            status=node_status.status_message(self.on.pods, self.on.observer),
            info=node_status.verbose_info(self.on.pods, self.on.releases, self.on.configuration())
            if request.verbose
            else {},
            runtime_handlers=node_status.handler_messages(self.on.engine.handlers),
            features=node_status.features_message(self.on.engine.handlers),
        )

    @early_rpc
    async def RuntimeConfig(self, request: criv1.RuntimeConfigRequest) -> criv1.RuntimeConfigResponse:
        return node_status.runtime_config_message(self.on.engine.handlers)

    @rpc
    async def UpdateRuntimeConfig(
        self, request: criv1.UpdateRuntimeConfigRequest
    ) -> criv1.UpdateRuntimeConfigResponse:
        cidrs = [
            cidr.strip() for cidr in request.runtime_config.network_config.pod_cidr.split(",") if cidr.strip()
        ]
        await update_pod_cidrs(self.on.pods, cidrs)
        return criv1.UpdateRuntimeConfigResponse()
