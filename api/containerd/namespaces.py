"""Namespaces: the daemon's tenants. They separate names, not rights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from api.containerd.calls import Link, Unary
from api.containerd.errors import AlreadyExists
from api.wire.containerd import namespaces_pb2, namespaces_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace's record."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Among them the defaults `containerd.io/defaults/runtime` and `/snapshotter`."""


class Namespaces:
    """All namespaces of the daemon."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(namespaces_pb2_grpc.NamespacesStub)
        self._get = Unary(link, stub.Get, "Namespaces", "Get")
        self._list = Unary(link, stub.List, "Namespaces", "List")
        self._create = Unary(link, stub.Create, "Namespaces", "Create")
        self._update = Unary(link, stub.Update, "Namespaces", "Update")
        self._delete = Unary(link, stub.Delete, "Namespaces", "Delete")

    async def get(self, name: str, *, timeout: float | None = None) -> Namespace:
        """Raises NotFound."""
        answer = await self._get(namespaces_pb2.GetNamespaceRequest(name=name), timeout)
        return _from_wire(answer.namespace)

    async def list(self, *, timeout: float | None = None) -> list[Namespace]:
        """All namespaces."""
        answer = await self._list(namespaces_pb2.ListNamespacesRequest(), timeout)
        return [_from_wire(namespace) for namespace in answer.namespaces]

    async def ensure(
        self, name: str, labels: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> None:
        """Make the namespace unless it is there, and set the given labels; others stay as they are."""
        message = namespaces_pb2.Namespace(name=name, labels=labels or {})
        try:
            await self._create(namespaces_pb2.CreateNamespaceRequest(namespace=message), timeout)
        except AlreadyExists:
            if labels:
                mask = field_mask_pb2.FieldMask(paths=[f"labels.{key}" for key in labels])
                await self._update(
                    namespaces_pb2.UpdateNamespaceRequest(namespace=message, update_mask=mask), timeout
                )

    async def delete(self, name: str, *, timeout: float | None = None) -> None:
        """Raises NotFound, FailedPrecondition (not empty)."""
        await self._delete(namespaces_pb2.DeleteNamespaceRequest(name=name), timeout)


def _from_wire(namespace: namespaces_pb2.Namespace) -> Namespace:
    return Namespace(namespace.name, dict(namespace.labels))
