"""GetContainerEvents: every change of a pod, with the pod as it was then, to any number of watchers.

    index changes ──> event (made once) ──┬─> queue of a watcher ──> its stream
                                          └─> queue of a watcher ──> its stream

Whoever causes a change only appends to queues and goes on. A queue is bounded: a watcher that does not keep up loses
the oldest events, which are counted; as each event carries its whole pod, the newest are the ones worth having.

A kubelet that lost its connection asks again after a moment and cannot say where it left off (the request is empty).
So for a while after the last watcher has gone, and after the start of the server, events are kept for the next one.
While nobody watches and that while is over, events are counted and not even made.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from api.wire import criv1
from cri.errors import ResourceExhausted, Unavailable
from cri.sandbox.pod_view import pod_view
from cri.state.changes import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cri.container.engine import Engine

log = structlog.get_logger(__name__)

MOST_QUEUED: Final = 1000
"""Events that wait for one watcher."""
MOST_WATCHERS: Final = 4096
GAP_SECONDS: Final = 60.0
"""How long events are kept while nobody watches."""

_TYPES: Final = {
    ChangeKind.CREATED: criv1.CONTAINER_CREATED_EVENT,
    ChangeKind.STARTED: criv1.CONTAINER_STARTED_EVENT,
    ChangeKind.STOPPED: criv1.CONTAINER_STOPPED_EVENT,
    ChangeKind.DELETED: criv1.CONTAINER_DELETED_EVENT,
}


class EventMetrics(Protocol):
    """Where happenings are counted."""

    def event(self, kind: str) -> None:
        """An event, whether anybody watches or not."""

    def events_dropped(self, count: int) -> None:
        """Events that a watcher missed."""

    def event_watchers(self, count: int) -> None:
        """How many watchers there are now."""


class Watcher:
    """One stream's queue."""

    def __init__(self, kept: deque[criv1.ContainerEventResponse]) -> None:
        """Begins with the events that were kept for it."""
        self.queue: deque[criv1.ContainerEventResponse] = deque(kept, MOST_QUEUED)
        self.dropped = 0
        self._closed = False
        self._news = asyncio.Event()
        if kept:
            self._news.set()

    def put(self, event: criv1.ContainerEventResponse) -> bool:
        """Append; False when the oldest event had to go for it."""
        full = len(self.queue) == MOST_QUEUED
        self.dropped += full
        self.queue.append(event)
        self._news.set()
        return not full

    def close(self) -> None:
        """End the stream once the queue is empty."""
        self._closed = True
        self._news.set()

    def __aiter__(self) -> AsyncIterator[criv1.ContainerEventResponse]:
        return self.events()

    async def events(self) -> AsyncIterator[criv1.ContainerEventResponse]:
        """Every event from now on. Raises Unavailable when the server stops."""
        while not self._closed:
            await self._news.wait()
            self._news.clear()
            while self.queue:
                event = self.queue[0]
                yield event
                # Only now it has been sent; meanwhile it may have been dropped to make room.
                if self.queue and self.queue[0] is event:
                    self.queue.popleft()
        raise Unavailable("the server is stopping; connect again to go on watching events")


class ContainerEvents:
    """The events of one node; listens to its index."""

    def __init__(self, engine: Engine, metrics: EventMetrics | None = None) -> None:
        self._engine = engine
        self._metrics = metrics
        self._watchers: set[Watcher] = set()
        self._kept: deque[criv1.ContainerEventResponse] = deque(maxlen=MOST_QUEUED)
        self._unwatched_since = time.monotonic()
        engine.node.changes.listen(self._hear)

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Join the watchers for the duration of the block. Raises ResourceExhausted when there are too many."""
        if len(self._watchers) >= MOST_WATCHERS:
            raise ResourceExhausted(
                f"{MOST_WATCHERS} clients watch container events already, one must leave first"
            )
        watcher = Watcher(self._kept)
        self._kept.clear()
        self._watchers.add(watcher)
        self._count_watchers()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            self._count_watchers()
            if not self._watchers:
                self._unwatched_since = time.monotonic()
                self._kept.extend(watcher.queue)
            if watcher.dropped:
                log.warning("a watcher of events was too slow and has gone", events_dropped=watcher.dropped)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        for watcher in self._watchers:
            watcher.close()

    def _hear(self, change: Change) -> None:
        if self._metrics is not None:
            self._metrics.event(change.kind.value)
        if not self._watchers and time.monotonic() - self._unwatched_since > GAP_SECONDS:
            self._kept.clear()
            return
        event = self._event(change)
        if event is None:
            return
        if not self._watchers:
            self._kept.append(event)
        dropped = sum(not watcher.put(event) for watcher in self._watchers)
        if dropped and self._metrics is not None:
            self._metrics.events_dropped(dropped)

    def _event(self, change: Change) -> criv1.ContainerEventResponse | None:
        """The message; None for a container whose sandbox is not known, because kubelet could not place it."""
        sandbox = change.sandbox or self._engine.node.sandboxes.find(change.sandbox_id)
        if sandbox is None:
            return None
        view = pod_view(self._engine, sandbox)
        return criv1.ContainerEventResponse(
            container_id=change.object_id,
            container_event_type=_TYPES[change.kind],
            created_at=view.timestamp,
            pod_sandbox_status=view.sandbox,
            containers_statuses=view.containers,
        )

    def _count_watchers(self) -> None:
        if self._metrics is not None:
            self._metrics.event_watchers(len(self._watchers))
