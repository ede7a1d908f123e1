"""CriClient: both CRI services of one socket, and the few call sequences that everyone would write again.

The generated stubs are used as they are (`client.runtime.RunPodSandbox(request)`); what they raise is
`CriError`, which is gRPC's own error with its code and details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import grpc
import grpc.aio

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType

CriError = grpc.aio.AioRpcError
"""What calls raise: `code()` is the gRPC status code, `details()` the server's text."""

MESSAGE_BYTES = 16 << 20
"""The kubelet's limit for both directions."""

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class CriClient:
    """A client of the CRI server at a unix socket; `async with` closes it. Make it inside of a running loop."""

    def __init__(self, address: str) -> None:
        """`address` is a path, with or without "unix://". Nothing is sent before the first call."""
        self.address = address.removeprefix("unix://")
        self._channel = grpc.aio.insecure_channel(f"unix:{quote(self.address)}", options=CHANNEL_OPTIONS)
        self.runtime = criv1.RuntimeServiceStub(self._channel)
        """runtime.v1.RuntimeService"""
        self.image = criv1.ImageServiceStub(self._channel)
        """runtime.v1.ImageService"""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()

    async def version(self, *, deadline_seconds: float | None = None) -> criv1.VersionResponse:
        """Who answers; with a deadline, waits that long for a server that is not there yet."""
        return await self.runtime.Version(
            criv1.VersionRequest(), wait_for_ready=deadline_seconds is not None, timeout=deadline_seconds
        )

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout_seconds: int = 0
    ) -> criv1.ExecSyncResponse:
        """Run a command in a container and wait for it; stdout, stderr (bytes) and exit code in the answer."""
        return await self.runtime.ExecSync(
            criv1.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout_seconds)
        )

    async def sandboxes(self, labels: Mapping[str, str] | None = None) -> list[criv1.PodSandbox]:
        """The sandboxes that carry all the labels; without labels, all."""
        only = criv1.PodSandboxFilter(label_selector=labels or {})
        answer = await self.runtime.ListPodSandbox(criv1.ListPodSandboxRequest(filter=only))
        return list(answer.items)

    async def containers(self, pod_sandbox_id: str = "") -> list[criv1.Container]:
        """The containers of one sandbox; without an ID, all."""
        only = criv1.ContainerFilter(pod_sandbox_id=pod_sandbox_id)
        answer = await self.runtime.ListContainers(criv1.ListContainersRequest(filter=only))
        return list(answer.containers)

    async def container_status(self, container_id: str) -> criv1.ContainerStatus:
        """State, times, exit code and reason of a container."""
        request = criv1.ContainerStatusRequest(container_id=container_id)
        return (await self.runtime.ContainerStatus(request)).status

    async def pull(self, reference: str, sandbox: criv1.PodSandboxConfig | None = None) -> str:
        """Pull an image; the answer is the image's reference by ID."""
        request = criv1.PullImageRequest(image=criv1.ImageSpec(image=reference), sandbox_config=sandbox)
        return (await self.image.PullImage(request)).image_ref

    async def remove_sandbox(self, pod_sandbox_id: str) -> None:
        """Stop a pod sandbox with all that is in it and remove it; one that is gone already is a success."""
        await self.runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id=pod_sandbox_id))
        await self.runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=pod_sandbox_id))

    def events(self) -> AsyncIterator[criv1.ContainerEventResponse]:
        """Container events from now on, until the consumer or the server goes away."""
        call: AsyncIterator[criv1.ContainerEventResponse] = self.runtime.GetContainerEvents(
            criv1.GetEventsRequest()
        ).__aiter__()
        return call
