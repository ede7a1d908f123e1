"""Leases, and how other services put what they make into the caller's."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import grpc
from google.protobuf import empty_pb2

from api.wire.containerd import leases_pb2, leases_pb2_grpc
from tests.double.calls import Context, caller
from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import Refusal, already_exists, found, invalid_argument, not_found
from tests.double.state import Lease, Namespace, State, now, stored_labels, timestamp


def lease_to_caller(namespace: Namespace, kind: str, key: str) -> bool:
    """Put a thing into the lease that the call is made under, if any; whether there is one.

    NOT_FOUND when the lease is gone.
    """
    if not caller().lease:
        return False
    lease = namespace.leases.get(caller().lease)
    if lease is None:
        raise not_found("lease does not exist")
    lease.resources.add((kind, key))
    return True


def unlease_from_caller(namespace: Namespace, kind: str, key: str) -> None:
    """Take a thing that is gone out of the caller's lease."""
    lease = namespace.leases.get(caller().lease)
    if lease is not None:
        lease.resources.discard((kind, key))


class LeasesService(leases_pb2_grpc.LeasesServicer):
    """containerd.services.leases.v1.Leases"""

    def __init__(self, state: State, collect: Callable[[], object]) -> None:
        """`collect` runs the garbage collector, for synchronous deletions."""
        self._state = state
        self._collect = collect

    async def Create(self, request: leases_pb2.CreateRequest, context: Context) -> leases_pb2.CreateResponse:
        namespace = self._state.namespace(caller().namespace)
        if request.id in namespace.leases:
            raise already_exists(f'lease "{request.id}"')
        lease = Lease(
            request.id or f"{now()}-{secrets.token_hex(2)}",
            now(),
            stored_labels(request.labels, "lease.Labels"),
        )
        namespace.leases[lease.id] = lease
        return leases_pb2.CreateResponse(lease=_to_wire(lease))

    async def Delete(self, request: leases_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:
        self._find(request.id)
        del self._state.namespace(caller().namespace).leases[request.id]
        if request.sync:
            self._collect()
        return empty_pb2.Empty()

    async def List(self, request: leases_pb2.ListRequest, context: Context) -> leases_pb2.ListResponse:
        matches = compile_filters(request.filters)
        leases = sorted(self._state.namespace(caller().namespace).leases.items())
        return leases_pb2.ListResponse(
            leases=[
                _to_wire(lease)
                for _, lease in leases
                if matches(lookup_in({"id": lease.id, "labels": lease.labels}))
            ]
        )

    async def AddResource(self, request: leases_pb2.AddResourceRequest, context: Context) -> empty_pb2.Empty:
        self._find(request.id).resources.add(_resource(request.resource))
        return empty_pb2.Empty()

    async def DeleteResource(
        self, request: leases_pb2.DeleteResourceRequest, context: Context
    ) -> empty_pb2.Empty:
        self._find(request.id).resources.discard(_resource(request.resource))
        return empty_pb2.Empty()

    async def ListResources(
        self, request: leases_pb2.ListResourcesRequest, context: Context
    ) -> leases_pb2.ListResourcesResponse:
        return leases_pb2.ListResourcesResponse(
            resources=[
                leases_pb2.Resource(type=kind, id=key)
                for kind, key in sorted(self._find(request.id).resources)
            ]
        )

    def _find(self, lease_id: str) -> Lease:
        return found(self._state.namespace(caller().namespace).leases.get(lease_id), f'lease "{lease_id}"')


def _resource(resource: leases_pb2.Resource) -> tuple[str, str]:
    kind, _, snapshotter = resource.type.partition("/")
    if kind not in ("content", "ingests", "snapshots"):
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, f"resource type {resource.type} not supported yet")
    if (kind == "snapshots") != bool(snapshotter):
        raise invalid_argument(f"invalid resource type {resource.type}")
    return resource.type, resource.id


def _to_wire(lease: Lease) -> leases_pb2.Lease:
    return leases_pb2.Lease(id=lease.id, created_at=timestamp(lease.created_at), labels=lease.labels)
