"""Container records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

from google.protobuf import any_pb2, empty_pb2

from api.wire.containerd import containers_pb2, containers_pb2_grpc, event_types_pb2
from tests.double.calls import Context, caller
from tests.double.exchange import Exchange
from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import already_exists, found, invalid_argument
from tests.double.state import State, check_identifier, now, stored_labels, timestamp, update_labels

WHOLE_RECORD = ("labels", "spec", "extensions", "image", "snapshotkey")
"""What an update without a mask replaces."""


class ContainersService(containers_pb2_grpc.ContainersServicer):
    """containerd.services.containers.v1.Containers"""

    def __init__(self, state: State, exchange: Exchange) -> None:
        self._state = state
        self._exchange = exchange

    async def Get(
        self, request: containers_pb2.GetContainerRequest, context: Context
    ) -> containers_pb2.GetContainerResponse:
        return containers_pb2.GetContainerResponse(container=self._find(request.id))

    async def List(
        self, request: containers_pb2.ListContainersRequest, context: Context
    ) -> containers_pb2.ListContainersResponse:
        return containers_pb2.ListContainersResponse(containers=self._matching(request))

    async def ListStream(
        self, request: containers_pb2.ListContainersRequest, context: Context
    ) -> AsyncIterator[containers_pb2.ListContainerMessage]:
        for container in list(self._matching(request)):
            yield containers_pb2.ListContainerMessage(container=container)

    async def Create(
        self, request: containers_pb2.CreateContainerRequest, context: Context
    ) -> containers_pb2.CreateContainerResponse:
        namespace = self._state.namespace(caller().namespace)
        container = containers_pb2.Container()
        container.CopyFrom(request.container)
        # The 1.6 line does not know the field.
        container.sandbox = ""
        _validate(container)
        if container.id in namespace.containers:
            raise already_exists(f'container "{container.id}"')
        labels = stored_labels(container.labels, "containers.Labels")
        container.labels.clear()
        container.labels.update(labels)
        container.created_at.CopyFrom(timestamp(now()))
        container.updated_at.CopyFrom(container.created_at)
        namespace.containers[container.id] = container
        self._exchange.publish(
            namespace.name,
            "/containers/create",
            event_types_pb2.ContainerCreate(
                id=container.id,
                image=container.image,
                runtime=event_types_pb2.ContainerCreate.Runtime(
                    name=container.runtime.name,
                    options=container.runtime.options if container.runtime.HasField("options") else None,
                ),
            ),
        )
        return containers_pb2.CreateContainerResponse(container=container)

    async def Update(
        self, request: containers_pb2.UpdateContainerRequest, context: Context
    ) -> containers_pb2.UpdateContainerResponse:
        wanted = request.container
        if not wanted.id:
            raise invalid_argument("must specify a container id")
        namespace = self._state.namespace(caller().namespace)
        old = self._find(wanted.id)
        container = containers_pb2.Container()
        container.CopyFrom(old)
        paths = list(request.update_mask.paths)
        if not paths:
            paths = list(WHOLE_RECORD)
            if wanted.snapshotter != old.snapshotter:
                raise invalid_argument("container.Snapshotter field is immutable")
            if wanted.runtime.name != old.runtime.name:
                raise invalid_argument("container.Runtime.Name field is immutable")
        for path in update_labels(container.labels, wanted.labels, paths, "containers.Labels"):
            _update_field(container, wanted, path)
        _validate(container)
        container.updated_at.CopyFrom(timestamp(now()))
        namespace.containers[container.id] = container
        self._exchange.publish(
            namespace.name,
            "/containers/update",
            event_types_pb2.ContainerUpdate(
                id=container.id,
                image=container.image,
                labels=container.labels,
                snapshot_key=container.snapshot_key,
            ),
        )
        return containers_pb2.UpdateContainerResponse(container=container)

    async def Delete(
        self, request: containers_pb2.DeleteContainerRequest, context: Context
    ) -> empty_pb2.Empty:
        namespace = self._state.namespace(caller().namespace)
        self._find(request.id)
        del namespace.containers[request.id]
        self._exchange.publish(
            namespace.name, "/containers/delete", event_types_pb2.ContainerDelete(id=request.id)
        )
        return empty_pb2.Empty()

    def _find(self, container_id: str) -> containers_pb2.Container:
        name = caller().namespace
        return found(
            self._state.namespace(name).containers.get(container_id),
            f'container "{container_id}" in namespace "{name}"',
        )

    def _matching(self, request: containers_pb2.ListContainersRequest) -> Iterator[containers_pb2.Container]:
        matches = compile_filters(request.filters)
        for _, container in sorted(self._state.namespace(caller().namespace).containers.items()):
            fields: dict[str, str | Mapping[str, str]] = {
                "id": container.id,
                "runtime.name": container.runtime.name,
                "image": container.image,
                "labels": container.labels,
            }
            if matches(lookup_in(fields)):
                yield container


def _update_field(container: containers_pb2.Container, wanted: containers_pb2.Container, path: str) -> None:
    if path.startswith("extensions."):
        key = path.removeprefix("extensions.")
        container.extensions[key].CopyFrom(
            wanted.extensions[key] if key in wanted.extensions else any_pb2.Any()
        )
    elif path == "spec":
        container.spec.CopyFrom(wanted.spec)
    elif path == "extensions":
        container.extensions.clear()
        for key, value in wanted.extensions.items():
            container.extensions[key].CopyFrom(value)
    elif path == "image":
        container.image = wanted.image
    elif path == "snapshotkey":
        container.snapshot_key = wanted.snapshot_key
    else:
        raise invalid_argument(f'cannot update "{path}" field on "{container.id}"')


def _validate(container: containers_pb2.Container) -> None:
    check_identifier(container.id, "container.ID")
    if "" in container.extensions:
        raise invalid_argument("container.Extension keys must not be zero-length")
    if not container.runtime.name:
        raise invalid_argument("container.Runtime.Name must be set")
    if not container.HasField("spec"):
        raise invalid_argument("container.Spec must be set")
    if container.snapshot_key and not container.snapshotter:
        raise invalid_argument("container.Snapshotter must be set if container.SnapshotKey is set")
