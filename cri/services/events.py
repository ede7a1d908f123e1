"""RuntimeService: the stream of container events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.services.streaming_rpc import endless_stream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from api.wire import criv1
    from cri.sandbox.events import Watcher
    from cri.services.collaborators import Collaborators


class EventCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @endless_stream
    def GetContainerEvents(self, request: criv1.GetEventsRequest) -> AbstractContextManager[Watcher]:
        return self.on.events.watch()
