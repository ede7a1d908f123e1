"""RuntimeService: the lists of sandboxes and containers, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container.status import list_item as container_item
from cri.sandbox.status import list_item as sandbox_item
from cri.services.streaming_rpc import list_stream, pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cri.services.collaborators import Collaborators


class ListStreamCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @list_stream
    async def StreamPodSandboxes(
        self, request: criv1.StreamPodSandboxesRequest
    ) -> AsyncIterator[criv1.StreamPodSandboxesResponse]:
        items = [sandbox_item(sandbox) for sandbox in self.on.sandboxes.matching(request.filter)]
        for piece in pieces(items):
            yield criv1.StreamPodSandboxesResponse(pod_sandboxes=piece)

    @list_stream
    async def StreamContainers(
        self, request: criv1.StreamContainersRequest
    ) -> AsyncIterator[criv1.StreamContainersResponse]:
        items = [container_item(container) for container in self.on.containers.matching(request.filter)]
        for piece in pieces(items):
            yield criv1.StreamContainersResponse(containers=piece)
