"""Events: what the daemon tells about every namespace, from the moment of subscribing on.

There is no replay, and the daemon does not say when a subscription counts. To miss nothing, one must
subscribe, know that it counts, and only then list. `Subscription.ready` gives that knowledge: it publishes a
marker of its own until the marker comes back through the subscription.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from api.containerd import times, typed_value
from api.containerd.calls import Link, Responses, ServerStream, Unary
from api.containerd.errors import ContainerdError
from api.containerd.typed_value import TypedValue
from api.wire.containerd import event_types_pb2, events_pb2, events_pb2_grpc, images_pb2, types_pb2

if TYPE_CHECKING:
    from types import TracebackType

MARKER_TOPIC = "/subscription/ready"
MARKER_SECONDS = 0.02
"""Pause between markers; the first mostly comes back, the others are for a loaded daemon."""

MESSAGE_TYPES: dict[str, type[Message]] = {
    message.full_name: message_factory.GetMessageClass(message)
    for message in (
        *event_types_pb2.DESCRIPTOR.message_types_by_name.values(),
        # Image events live in the package of the service, unlike all others.
        images_pb2.ImageCreate.DESCRIPTOR,
        images_pb2.ImageUpdate.DESCRIPTOR,
        images_pb2.ImageDelete.DESCRIPTOR,
    )
}
"""The messages that events carry, by bare full name."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    timestamp: int
    """Unix nanoseconds."""
    namespace: str
    topic: str
    """Such as "/tasks/exit"."""
    message: Message | TypedValue
    """A message of `event_types_pb2`; of types that are not known (or damaged) the raw value."""


class Subscription:
    """An iterator over events that began with its making. Close it with `aclose` or an `async with` block."""

    def __init__(self, events: Events, filters: tuple[str, ...]) -> None:
        self._events = events
        self._marker = f"{MARKER_TOPIC}/{secrets.token_hex(8)}"
        # Without a filter everything comes anyway, the marker included.
        wanted = (*filters, f'topic=="{self._marker}"') if filters else ()
        self._envelopes = events.open(wanted)
        self._early: deque[Event] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises Unavailable when the daemon goes away, StopAsyncIteration after `aclose`.

        Cancelling the wait ends the subscription.
        """
        if self._early:
            return self._early.popleft()
        while True:
            event = _from_wire(await anext(self._envelopes))
            if not event.topic.startswith(MARKER_TOPIC):
                return event

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def ready(self) -> None:
        """Return when every event from now on will come; those that came meanwhile are kept in order.

        To be called before iterating. Raises ContainerdError; the deadline of an unanswering daemon is the
        client's default for unary calls.
        """
        try:
            async with asyncio.TaskGroup() as group:
                marking = group.create_task(self._mark(), name="mark event subscription")
                await self._read_until_marked()
                marking.cancel()
        except BaseExceptionGroup as failures:
            refusals, others = failures.split(ContainerdError)
            if refusals is None or others is not None:
                raise
            # Both sides of the conversation may have failed, of one cause.
            raise refusals.exceptions[0] from None

    async def aclose(self) -> None:
        """End the subscription."""
        await self._envelopes.aclose()

    async def _read_until_marked(self) -> None:
        async for envelope in self._envelopes:
            if envelope.topic == self._marker:
                return
            if not envelope.topic.startswith(MARKER_TOPIC):
                self._early.append(_from_wire(envelope))

    async def _mark(self) -> None:
        while True:
            await self._events.publish(self._marker, TypedValue("google.protobuf.Empty", b""))
            await asyncio.sleep(MARKER_SECONDS)


class Events:
    """The daemon's event exchange; subscriptions see all namespaces, so filter by `namespace==...`."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(events_pb2_grpc.EventsStub)
        self._subscribe = ServerStream(link, stub.Subscribe, "Events", "Subscribe")
        self._publish = Unary(link, stub.Publish, "Events", "Publish")

    def subscribe(self, *filters: str) -> Subscription:
        """Events that match any of the filters (`topic~="/tasks/.*",namespace==k8s.io`: comma is "and").

        The call starts at once; `async with` (or `Subscription.ready`) says when it counts.
        """
        return Subscription(self, filters)

    async def publish(self, topic: str, event: TypedValue, *, timeout: float | None = None) -> None:
        """Tell all subscribers, in the client's namespace. Raises InvalidArgument (topic)."""
        request = events_pb2.PublishRequest(topic=topic, event=typed_value.to_wire(event))
        await self._publish(request, timeout)

    def open(self, filters: tuple[str, ...]) -> Responses[types_pb2.Envelope]:
        """The bare stream below a Subscription."""
        return self._subscribe(events_pb2.SubscribeRequest(filters=filters))


def _from_wire(envelope: types_pb2.Envelope) -> Event:
    return Event(
        timestamp=times.from_wire(envelope.timestamp),
        namespace=envelope.namespace,
        topic=envelope.topic,
        message=_decode(typed_value.from_wire(envelope.event)),
    )


def _decode(value: TypedValue) -> Message | TypedValue:
    kind = MESSAGE_TYPES.get(value.name)
    if kind is None:
        return value
    try:
        return kind.FromString(value.value)
    except DecodeError:
        return value
