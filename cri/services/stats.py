"""RuntimeService: the RPCs that measure containers and pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from api.wire_format import delimited
from cri.sandbox.node_metrics import descriptor_messages, pod_metrics
from cri.services.encoding import Encoded
from cri.services.rpc import early_rpc, rpc
from cri.services.streaming_rpc import list_stream, message_bytes, pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cri.services.collaborators import Collaborators

PODS_FIELD = criv1.ListPodSandboxMetricsResponse.POD_METRICS_FIELD_NUMBER
"""The same in the streamed response."""


class StatsCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @rpc
    async def ContainerStats(self, request: criv1.ContainerStatsRequest) -> criv1.ContainerStatsResponse:
        container = self.on.containers.get(request.container_id)
        return criv1.ContainerStatsResponse(stats=await self.on.stats.container(container))

    @rpc
    async def ListContainerStats(
        self, request: criv1.ListContainerStatsRequest
    ) -> criv1.ListContainerStatsResponse:
        return criv1.ListContainerStatsResponse(stats=await self.on.stats.matching_containers(request.filter))

    @list_stream
    async def StreamContainerStats(
        self, request: criv1.StreamContainerStatsRequest
    ) -> AsyncIterator[criv1.StreamContainerStatsResponse]:
        for piece in pieces(await self.on.stats.matching_containers(request.filter), message_bytes):
            yield criv1.StreamContainerStatsResponse(container_stats=piece)

    @rpc
    async def PodSandboxStats(self, request: criv1.PodSandboxStatsRequest) -> criv1.PodSandboxStatsResponse:
        sandbox = self.on.sandboxes.get(request.pod_sandbox_id)
        return criv1.PodSandboxStatsResponse(stats=await self.on.stats.sandbox(sandbox))

    @rpc
    async def ListPodSandboxStats(
        self, request: criv1.ListPodSandboxStatsRequest
    ) -> criv1.ListPodSandboxStatsResponse:
        return criv1.ListPodSandboxStatsResponse(stats=await self.on.stats.matching_sandboxes(request.filter))

    @list_stream
    async def StreamPodSandboxStats(
        self, request: criv1.StreamPodSandboxStatsRequest
    ) -> AsyncIterator[criv1.StreamPodSandboxStatsResponse]:
        for piece in pieces(await self.on.stats.matching_sandboxes(request.filter), message_bytes):
            yield criv1.StreamPodSandboxStatsResponse(pod_sandbox_stats=piece)

    @early_rpc
    async def ListMetricDescriptors(
        self, request: criv1.ListMetricDescriptorsRequest
    ) -> criv1.ListMetricDescriptorsResponse:
        return criv1.ListMetricDescriptorsResponse(descriptors=descriptor_messages())

    @rpc
    async def ListPodSandboxMetrics(self, request: criv1.ListPodSandboxMetricsRequest) -> Encoded:
        pods = await pod_metrics(self.on.engine, self.on.stats)
        return Encoded.of(delimited(PODS_FIELD, pod) for pod in pods)

    @list_stream
    async def StreamPodSandboxMetrics(
        self, request: criv1.StreamPodSandboxMetricsRequest
    ) -> AsyncIterator[Encoded]:
        for piece in pieces(await pod_metrics(self.on.engine, self.on.stats), len):
            yield Encoded.of(delimited(PODS_FIELD, pod) for pod in piece)
