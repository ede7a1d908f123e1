"""Events in and out."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf import empty_pb2

from api.wire.containerd import events_pb2, events_pb2_grpc, types_pb2
from tests.double.calls import Context, caller
from tests.double.exchange import Exchange
from tests.double.refusals import invalid_argument
from tests.double.state import check_identifier


class EventsService(events_pb2_grpc.EventsServicer):
    """containerd.services.events.v1.Events"""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def Publish(self, request: events_pb2.PublishRequest, context: Context) -> empty_pb2.Empty:
        namespace = caller().namespace
        _check_topic(request.topic)
        self._exchange.publish_any(namespace, request.topic, request.event)
        return empty_pb2.Empty()

    async def Forward(self, request: events_pb2.ForwardRequest, context: Context) -> empty_pb2.Empty:
        _check_topic(request.envelope.topic)
        self._exchange.forward(request.envelope)
        return empty_pb2.Empty()

    async def Subscribe(
        self, request: events_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[types_pb2.Envelope]:
        async for envelope in self._exchange.subscribe(request.filters):
            yield envelope


def _check_topic(topic: str) -> None:
    if not topic.startswith("/") or topic == "/":
        raise invalid_argument(f"envelope topic \"{topic}\": must start with '/' and have a component")
    for component in topic[1:].split("/"):
        check_identifier(component, f'envelope topic "{topic}": failed validation on component "{component}"')
