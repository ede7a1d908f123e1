"""Leases: what keeps things from the garbage collector while nothing else names them yet."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from api.containerd import times
from api.containerd.calls import Link, Unary
from api.containerd.errors import AlreadyExists, ContainerdError, NotFound
from api.wire.containerd import leases_pb2, leases_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from api.containerd.client import Client

log = structlog.get_logger(__name__)

EXPIRE_LABEL = "containerd.io/gc.expire"
"""RFC 3339 time from which the lease itself is garbage."""

DAY_SECONDS = 24 * 3600.0
DELETE_SECONDS = 10.0
"""How long the end of `hold` may wait for the daemon; after that the expiry does the work."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease's record."""

    id: str
    created_at: int = 0
    """Unix nanoseconds."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeaseResource:
    """A thing that a lease holds."""

    type: str
    """"content", "ingests", "snapshots/<snapshotter>", on containerd 2 also "images"."""
    id: str
    """Digest, ref, snapshot key or image name."""


class Leases:
    """The leases of one namespace."""

    def __init__(self, link: Link, under: Callable[[str], Client]) -> None:
        """`under` makes a client whose calls are made on behalf of a lease."""
        self._under = under
        stub = link.stub(leases_pb2_grpc.LeasesStub)
        self._create = Unary(link, stub.Create, "Leases", "Create")
        self._delete = Unary(link, stub.Delete, "Leases", "Delete")
        self._list = Unary(link, stub.List, "Leases", "List")
        self._add = Unary(link, stub.AddResource, "Leases", "AddResource")
        self._remove = Unary(link, stub.DeleteResource, "Leases", "DeleteResource")
        self._resources = Unary(link, stub.ListResources, "Leases", "ListResources")

    async def create(
        self, lease_id: str, labels: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> Lease:
        """Raises AlreadyExists."""
        request = leases_pb2.CreateRequest(id=lease_id, labels=labels or {})
        return _from_wire((await self._create(request, timeout)).lease)

    async def delete(self, lease_id: str, *, sync: bool = False, timeout: float | None = None) -> None:
        """Let go of all it holds; `sync`: a garbage collection runs before the answer. Raises NotFound."""
        await self._delete(leases_pb2.DeleteRequest(id=lease_id, sync=sync), timeout)

    async def add(self, lease_id: str, resource: LeaseResource, *, timeout: float | None = None) -> None:
        """Hold an existing thing as well. Raises NotFound (the lease; things are not checked)."""
        await self._add(leases_pb2.AddResourceRequest(id=lease_id, resource=_to_wire(resource)), timeout)

    async def remove(self, lease_id: str, resource: LeaseResource, *, timeout: float | None = None) -> None:
        """Stop holding one thing. Raises NotFound (the lease)."""
        await self._remove(
            leases_pb2.DeleteResourceRequest(id=lease_id, resource=_to_wire(resource)), timeout
        )

    async def resources(self, lease_id: str, *, timeout: float | None = None) -> list[LeaseResource]:
        """What a lease holds. Raises NotFound."""
        answer = await self._resources(leases_pb2.ListResourcesRequest(id=lease_id), timeout)
        return [LeaseResource(resource.type, resource.id) for resource in answer.resources]

    @contextlib.asynccontextmanager
    async def hold(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        expires_in: float | None = DAY_SECONDS,
        id: str | None = None,  # noqa: A002 - the field's own name
    ) -> AsyncIterator[Client]:
        """A lease for the length of a block, which gets a client whose calls are made on its behalf.

        The lease is deleted at the end even when the task is being cancelled; should that fail, it goes by
        itself `expires_in` seconds after it was made (None: never). An `id` must be the caller's own. Raises
        AlreadyExists.
        """
        lease_id = id or f"{secrets.token_hex(8)}-hold"
        every_label = dict(labels or {})
        if expires_in is not None:
            every_label[EXPIRE_LABEL] = _rfc3339_from_now(expires_in)
        try:
            await self.create(lease_id, every_label)
        except AlreadyExists:
            raise
        except (ContainerdError, asyncio.CancelledError):
            # The daemon may have made it all the same.
            await self._let_go(lease_id)
            raise
        try:
            yield self._under(lease_id)
        finally:
            await self._let_go(lease_id)

    async def _let_go(self, lease_id: str) -> None:
        """Delete the lease whatever happens to the calling task; failure is logged, not raised."""
        deletion = asyncio.get_running_loop().create_task(
            self._delete_quietly(lease_id), name=f"delete lease {lease_id}"
        )
        cancelled: asyncio.CancelledError | None = None
        while not deletion.done():
            try:
                await asyncio.shield(deletion)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _delete_quietly(self, lease_id: str) -> None:
        try:
            await self.delete(lease_id, timeout=DELETE_SECONDS)
        except NotFound:
            pass
        except ContainerdError as error:
            log.warning(
                "lease not deleted, it stays until it expires if it has an expiry",
                lease=lease_id,
                error=str(error),
            )

    async def list(self, *filters: str, timeout: float | None = None) -> list[Lease]:
        """The leases that match any of the filters (`id==...`, `labels."key"==value`)."""
        answer = await self._list(leases_pb2.ListRequest(filters=filters), timeout)
        return [_from_wire(lease) for lease in answer.leases]


def _rfc3339_from_now(seconds: float) -> str:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _to_wire(resource: LeaseResource) -> leases_pb2.Resource:
    return leases_pb2.Resource(type=resource.type, id=resource.id)


def _from_wire(lease: leases_pb2.Lease) -> Lease:
    return Lease(lease.id, times.from_wire(lease.created_at), dict(lease.labels))
