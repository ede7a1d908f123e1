"""The event exchange: what services publish goes to every subscriber whose filter matches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from google.protobuf import any_pb2
from google.protobuf.message import Message

from api.wire.containerd import types_pb2
from tests.double.filters import Lookup, Predicate, compile_filters
from tests.double.state import now, timestamp


class Exchange:
    """Publishes to subscribers and keeps all envelopes for tests to look at."""

    def __init__(self) -> None:
        self.published: list[types_pb2.Envelope] = []
        self._subscribers: dict[asyncio.Queue[types_pb2.Envelope | None], Predicate] = {}
        """None in a queue ends the subscription."""

    @property
    def subscribers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscribers)

    def publish(self, namespace: str, topic: str, event: Message) -> None:
        """Send a message of `event_types_pb2` under its bare type name."""
        name = event.DESCRIPTOR.full_name
        self.publish_any(namespace, topic, any_pb2.Any(type_url=name, value=event.SerializeToString()))

    def publish_any(self, namespace: str, topic: str, event: any_pb2.Any) -> None:
        """Send whatever a client publishes."""
        self.forward(
            types_pb2.Envelope(timestamp=timestamp(now()), namespace=namespace, topic=topic, event=event)
        )

    def forward(self, envelope: types_pb2.Envelope) -> None:
        """Send a whole envelope."""
        self.published.append(envelope)
        for queue, matches in self._subscribers.items():
            if matches(_lookup(envelope)):
                queue.put_nowait(envelope)

    def cut(self) -> None:
        """End every subscription, as a daemon does to one that reads too slowly; what comes meanwhile is missed."""
        for queue in list(self._subscribers):
            del self._subscribers[queue]
            queue.put_nowait(None)

    async def subscribe(self, filters: Sequence[str]) -> AsyncIterator[types_pb2.Envelope]:
        """Envelopes from now on, until the consumer goes away."""
        matches = compile_filters(filters)
        queue: asyncio.Queue[types_pb2.Envelope | None] = asyncio.Queue()
        self._subscribers[queue] = matches
        try:
            while (envelope := await queue.get()) is not None:
                yield envelope
        finally:
            self._subscribers.pop(queue, None)


def _lookup(envelope: types_pb2.Envelope) -> Lookup:
    fields = {"namespace": envelope.namespace, "topic": envelope.topic}
    return lambda path: fields.get(path[0]) if len(path) == 1 else None
