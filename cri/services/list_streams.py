"""RuntimeService: the lists of sandboxes and containers, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.services.encoding import Encoded
from cri.services.list_entries import container_entry, sandbox_entry
from cri.services.streaming_rpc import list_stream, pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.wire import criv1
    from cri.services.collaborators import Collaborators


class ListStreamCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @list_stream
    async def StreamPodSandboxes(self, request: criv1.StreamPodSandboxesRequest) -> AsyncIterator[Encoded]:
        entries = [sandbox_entry(sandbox) for sandbox in self.on.sandboxes.matching(request.filter)]
        for piece in pieces(entries, len):
            yield Encoded.of(piece)

    @list_stream
    async def StreamContainers(self, request: criv1.StreamContainersRequest) -> AsyncIterator[Encoded]:
        entries = [container_entry(container) for container in self.on.containers.matching(request.filter)]
        for piece in pieces(entries, len):
            yield Encoded.of(piece)
