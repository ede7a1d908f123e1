"""The CRI server as this tool sees it: a connection, the few calls it needs, errors in words."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from api.cri import CriClient
from api.wire import criv1 as cri
from cri.app.pod.plan import POD_NAME, POD_NAMESPACE
from cri.errors import CriError, DeadlineExceeded, Internal, InvalidArgument, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

DEFAULT_ENDPOINT = "unix:///run/cri-shim/cri-shim.sock"
ENDPOINT_VARIABLE = "CONTAINER_RUNTIME_ENDPOINT"
CALL_SECONDS = 120.0
SANDBOX_SECONDS = 240.0
_ERRORS: dict[grpc.StatusCode, type[CriError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Node:
    """One CRI server."""

    client: CriClient

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        seconds: float | None = CALL_SECONDS,
    ) -> Response:
        """Make one call. Raises a CriError with the server's message; `seconds` None waits for ever."""
        try:
            return await method(request, timeout=seconds, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def find_pod(self, name: str, namespace: str) -> cri.PodSandbox:
        """The pod called `name`, else the one with that id or unique beginning of it.

        Raises NotFound, and InvalidArgument where several would fit.
        """
        named = await self.pods({POD_NAME: name, POD_NAMESPACE: namespace})
        if named:
            return max(named, key=lambda pod: pod.created_at)
        fitting = [pod for pod in await self.pods({}) if pod.id.startswith(name)]
        if not fitting:
            raise NotFound(f'no pod "{name}" in namespace "{namespace}", and no pod id begins so')
        if len(fitting) > 1:
            raise InvalidArgument(f'"{name}" is the beginning of {len(fitting)} pod ids; give more of it')
        return fitting[0]

    async def pods(self, labels: dict[str, str]) -> list[cri.PodSandbox]:
        """All pods with these labels, newest first."""
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=labels))
        answer = await self.call(self.client.runtime.ListPodSandbox, request)
        return sorted(answer.items, key=lambda pod: pod.created_at, reverse=True)

    async def containers(self, sandbox_id: str = "") -> list[cri.Container]:
        """The containers of one pod, or of all, in order of creation."""
        request = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox_id))
        answer = await self.call(self.client.runtime.ListContainers, request)
        return sorted(answer.containers, key=lambda container: container.created_at)

    async def container_status(self, container_id: str) -> cri.ContainerStatus:
        """One container's status."""
        request = cri.ContainerStatusRequest(container_id=container_id)
        return (await self.call(self.client.runtime.ContainerStatus, request)).status

    async def pod_addresses(self, sandbox_id: str) -> list[str]:
        """The pod's addresses, the primary one first; none on the host's network."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        network = (await self.call(self.client.runtime.PodSandboxStatus, request)).status.network
        return [ip for ip in (network.ip, *(each.ip for each in network.additional_ips)) if ip]

    def _translated(self, error: grpc.aio.AioRpcError) -> CriError:
        code = error.code()
        details = error.details() or code.name
        if code is grpc.StatusCode.UNAVAILABLE and "connect" in details.lower():
            return Unavailable(
                f"no CRI server answers at {self.client.address}; is `cri-shim serve` running there?"
            )
        return _ERRORS.get(code, Internal)(details)


@contextlib.asynccontextmanager
async def connect(endpoint: str | None) -> AsyncIterator[Node]:
    """Connect to a CRI server: the endpoint given, else the environment's, else the usual socket."""
    async with CriClient(endpoint or os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT) as client:
        yield Node(client)


def container_named(containers: Iterable[cri.Container], name: str | None) -> cri.Container:
    """The newest container called `name`, or the only one. Raises InvalidArgument listing the choices."""
    newest = {container.metadata.name: container for container in containers}
    if name is not None and name in newest:
        return newest[name]
    if name is None and len(newest) == 1:
        return next(iter(newest.values()))
    choices = ", ".join(newest) or "none"
    if name is None:
        raise InvalidArgument(f"say which container with -c; there are: {choices}")
    raise NotFound(f'the pod has no container "{name}"; there are: {choices}')
