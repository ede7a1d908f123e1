"""RuntimeService: the stream of container events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.services.streaming_rpc import endless_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.wire import criv1
    from cri.services.collaborators import Collaborators


class EventCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @endless_stream
    async def GetContainerEvents(
        self, request: criv1.GetEventsRequest
    ) -> AsyncIterator[criv1.ContainerEventResponse]:
        with self.on.events.watch() as watcher:
            async for event in watcher.events():
                yield event
