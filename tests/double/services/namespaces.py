"""Namespaces."""

from __future__ import annotations

from google.protobuf import empty_pb2

from api.wire.containerd import event_types_pb2, namespaces_pb2, namespaces_pb2_grpc
from tests.double.calls import Context
from tests.double.exchange import Exchange
from tests.double.refusals import already_exists, failed_precondition, found, invalid_argument
from tests.double.state import Namespace, State, check_identifier, stored_labels, update_labels


class NamespacesService(namespaces_pb2_grpc.NamespacesServicer):
    """containerd.services.namespaces.v1.Namespaces"""

    def __init__(self, state: State, exchange: Exchange) -> None:
        self._state = state
        self._exchange = exchange

    async def Get(
        self, request: namespaces_pb2.GetNamespaceRequest, context: Context
    ) -> namespaces_pb2.GetNamespaceResponse:
        # The 1.6 line does not look whether it is there.
        namespace = self._state.namespaces.get(request.name, Namespace(request.name))
        return namespaces_pb2.GetNamespaceResponse(namespace=_to_wire(namespace))

    async def List(
        self, request: namespaces_pb2.ListNamespacesRequest, context: Context
    ) -> namespaces_pb2.ListNamespacesResponse:
        return namespaces_pb2.ListNamespacesResponse(
            namespaces=[_to_wire(namespace) for _, namespace in sorted(self._state.namespaces.items())]
        )

    async def Create(
        self, request: namespaces_pb2.CreateNamespaceRequest, context: Context
    ) -> namespaces_pb2.CreateNamespaceResponse:
        wanted = request.namespace
        check_identifier(wanted.name, "namespace")
        if wanted.name in self._state.namespaces:
            raise already_exists(f'namespace "{wanted.name}"')
        namespace = self._state.namespace(wanted.name)
        namespace.labels.update(stored_labels(wanted.labels, "namespace.Labels"))
        event = event_types_pb2.NamespaceCreate(name=namespace.name, labels=namespace.labels)
        self._exchange.publish(namespace.name, "/namespaces/create", event)
        return namespaces_pb2.CreateNamespaceResponse(namespace=_to_wire(namespace))

    async def Update(
        self, request: namespaces_pb2.UpdateNamespaceRequest, context: Context
    ) -> namespaces_pb2.UpdateNamespaceResponse:
        namespace = self._find(request.namespace.name)
        paths = list(request.update_mask.paths) or ["labels"]
        for path in update_labels(namespace.labels, request.namespace.labels, paths, "namespace.Labels"):
            raise invalid_argument(f'cannot update "{path}" field')
        event = event_types_pb2.NamespaceUpdate(name=namespace.name, labels=namespace.labels)
        self._exchange.publish(namespace.name, "/namespaces/update", event)
        return namespaces_pb2.UpdateNamespaceResponse(namespace=_to_wire(namespace))

    async def Delete(
        self, request: namespaces_pb2.DeleteNamespaceRequest, context: Context
    ) -> empty_pb2.Empty:
        if not self._find(request.name).empty:
            raise failed_precondition(f'namespace "{request.name}" must be empty')
        del self._state.namespaces[request.name]
        event = event_types_pb2.NamespaceDelete(name=request.name)
        self._exchange.publish(request.name, "/namespaces/delete", event)
        return empty_pb2.Empty()

    def _find(self, name: str) -> Namespace:
        return found(self._state.namespaces.get(name), f'namespace "{name}"')


def _to_wire(namespace: Namespace) -> namespaces_pb2.Namespace:
    return namespaces_pb2.Namespace(name=namespace.name, labels=namespace.labels)
