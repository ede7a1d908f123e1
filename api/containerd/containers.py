"""Containers: the records that say what a container is. They run nothing; see `tasks.py` for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from api.containerd import times, typed_value
from api.containerd.calls import Link, ServerStream, Unary
from api.containerd.errors import Unimplemented
from api.wire.containerd import containers_pb2, containers_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd.typed_value import TypedValue


@dataclass(frozen=True, slots=True)
class Container:
    """A container's record. It keeps the snapshot that it names from the garbage collector."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    """Name of the image record, for people; containerd does not look it up."""
    runtime: str = ""
    """Runtime name, such as "io.containerd.runc.v2"; cannot change later."""
    runtime_options: TypedValue | None = None
    spec: TypedValue | None = None
    """The OCI runtime spec, JSON under `typed_value.SPEC_TYPE_URL`."""
    snapshotter: str = ""
    snapshot_key: str = ""
    created_at: int = 0
    """Unix nanoseconds, set by containerd."""
    updated_at: int = 0
    """Unix nanoseconds, set by containerd."""
    extensions: Mapping[str, TypedValue] = field(default_factory=dict)
    """Data of clients, by extension name."""
    sandbox_id: str = ""
    """The pod sandbox, on daemons that know sandboxes (1.7 on); others drop it."""


class Containers:
    """The records of one namespace."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(containers_pb2_grpc.ContainersStub)
        self._create = Unary(link, stub.Create, "Containers", "Create")
        self._get = Unary(link, stub.Get, "Containers", "Get")
        self._list = Unary(link, stub.List, "Containers", "List")
        self._list_stream = ServerStream(link, stub.ListStream, "Containers", "ListStream")
        self._update = Unary(link, stub.Update, "Containers", "Update")
        self._delete = Unary(link, stub.Delete, "Containers", "Delete")

    async def create(self, container: Container, *, timeout: float | None = None) -> Container:
        """Write a new record; the answer has its times. Raises AlreadyExists, InvalidArgument."""
        request = containers_pb2.CreateContainerRequest(container=to_wire(container))
        return from_wire((await self._create(request, timeout)).container)

    async def get(self, container_id: str, *, timeout: float | None = None) -> Container:
        """Raises NotFound."""
        request = containers_pb2.GetContainerRequest(id=container_id)
        return from_wire((await self._get(request, timeout)).container)

    async def list(self, *filters: str, timeout: float | None = None) -> list[Container]:
        """All records that match any of the filters (`labels."key"==value`); without a filter, all.

        They come as a stream, so their number is not bounded by the message size.
        """
        request = containers_pb2.ListContainersRequest(filters=filters)
        try:
            return [from_wire(message.container) async for message in self._list_stream(request, timeout)]
        except Unimplemented:
            return [from_wire(container) for container in (await self._list(request, timeout)).containers]

    async def update(self, container: Container, *paths: str, timeout: float | None = None) -> Container:
        """Change the fields named by `paths` ("labels", "labels.KEY", "extensions.KEY", "spec", "image").

        Without paths everything is replaced, and `runtime` and `snapshotter` must be as they were. A label
        with an empty value is removed. Raises NotFound, InvalidArgument.
        """
        request = containers_pb2.UpdateContainerRequest(
            container=to_wire(container),
            update_mask=field_mask_pb2.FieldMask(paths=paths) if paths else None,
        )
        return from_wire((await self._update(request, timeout)).container)

    async def delete(self, container_id: str, *, timeout: float | None = None) -> None:
        """Remove the record; the snapshot becomes garbage unless something else holds it. Raises NotFound."""
        await self._delete(containers_pb2.DeleteContainerRequest(id=container_id), timeout)


def to_wire(container: Container) -> containers_pb2.Container:
    """For a request."""
    message = containers_pb2.Container(
        id=container.id,
        labels=container.labels,
        image=container.image,
        runtime=containers_pb2.Container.Runtime(
            name=container.runtime, options=typed_value.to_wire(container.runtime_options)
        ),
        spec=typed_value.to_wire(container.spec),
        snapshotter=container.snapshotter,
        snapshot_key=container.snapshot_key,
        created_at=times.to_wire(container.created_at),
        updated_at=times.to_wire(container.updated_at),
        sandbox=container.sandbox_id,
    )
    for name, value in container.extensions.items():
        extension = message.extensions[name]
        extension.type_url, extension.value = value.type_url, value.value
    return message


def from_wire(message: containers_pb2.Container) -> Container:
    """From a response."""
    return Container(
        id=message.id,
        labels=dict(message.labels),
        image=message.image,
        runtime=message.runtime.name,
        runtime_options=typed_value.from_wire_or_none(message.runtime.options),
        spec=typed_value.from_wire_or_none(message.spec),
        snapshotter=message.snapshotter,
        snapshot_key=message.snapshot_key,
        created_at=times.from_wire(message.created_at),
        updated_at=times.from_wire(message.updated_at),
        extensions={name: typed_value.from_wire(value) for name, value in message.extensions.items()},
        sandbox_id=message.sandbox,
    )
