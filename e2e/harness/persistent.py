"""A client that does not give up, as the kubelet does not: it looks what is there and calls again.

Whatever becomes of a single call, each of these ends with what was wanted: one ready pod, one container, none. They
count how often they had to call again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from api.wire import criv1
from e2e.harness.patience import patiently
from e2e.harness.workload import Container, Pod

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.harness.cri import Cri

T = TypeVar("T")
Code = grpc.StatusCode

CALL_SECONDS = 60.0
PATIENCE_SECONDS = patiently(300.0)
PAUSE_SECONDS = 0.1
PASSING = frozenset(
    {
        Code.UNAVAILABLE,  # the server or containerd is away
        Code.CANCELLED,  # it went away in the middle
        Code.UNKNOWN,  # gRPC's own word for a connection that broke
        Code.DEADLINE_EXCEEDED,
        Code.INTERNAL,  # a shim or runc that was broken off in the middle
        Code.RESOURCE_EXHAUSTED,
        Code.ABORTED,
    }
)


@dataclass(slots=True)
class Persistent:
    """The calls of one client."""

    cri: Cri
    image: str
    again: Counter[str] = field(default_factory=Counter)
    """Calls that had to be repeated, by RPC and code."""
    answers: Counter[str] = field(default_factory=Counter)
    """Calls that succeeded, by RPC."""

    async def until_done(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds; what cannot pass by itself is raised at once."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                answer = await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING or asyncio.get_running_loop().time() > deadline:
                    raise
                self.again[f"{name} {error.code().name}"] += 1
            else:
                self.answers[name] += 1
                return answer
            await asyncio.sleep(PAUSE_SECONDS)

    async def pod(self, config: criv1.PodSandboxConfig) -> Pod:
        """One ready pod of this configuration; a dead one is removed and the next attempt made."""
        while True:
            identifier = await self.until_done("RunPodSandbox", lambda: self._run(config))
            pod = Pod(self.cri, identifier, config, self.image)
            if await self._ready(pod):
                return pod
            await self.remove_pod(pod)
            config.metadata.attempt += 1

    async def container(self, pod: Pod, config: criv1.ContainerConfig) -> Container:
        """One created container."""
        request = criv1.CreateContainerRequest(
            pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config
        )

        async def create() -> str:
            try:
                answer = await self.cri.runtime.CreateContainer(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not Code.ALREADY_EXISTS:
                    raise
                return await self._container_named(pod, config)
            return answer.container_id

        identifier = await self.until_done("CreateContainer", create)
        return Container(self.cri, pod, identifier, config)

    async def start(self, container: Container) -> bool:
        """Start it; False if the attempt was cut off and the container ended without having run."""
        request = criv1.StartContainerRequest(container_id=container.id)

        async def start() -> None:
            try:
                await self.cri.runtime.StartContainer(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not Code.FAILED_PRECONDITION:
                    raise
                if (await container.status()).state == criv1.CONTAINER_CREATED:
                    raise  # it could be started, and is not allowed to

        await self.until_done("StartContainer", start)
        return (await self.status(container)).reason != "StartError"

    async def status(self, container: Container) -> criv1.ContainerStatus:
        return await self.until_done("ContainerStatus", container.status)

    async def ended(self, container: Container, seconds: float = PATIENCE_SECONDS) -> criv1.ContainerStatus:
        """Wait until the status says EXITED."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (status := await self.status(container)).state != criv1.CONTAINER_EXITED:
            assert asyncio.get_running_loop().time() < deadline, f"{container.id} did not end: {status}"
            await asyncio.sleep(PAUSE_SECONDS)
        return status

    async def stop(self, container: Container, grace_seconds: int) -> None:
        await self.until_done("StopContainer", lambda: container.stop(grace_seconds))

    async def remove(self, container: Container) -> None:
        await self.until_done("RemoveContainer", container.remove)

    async def remove_pod(self, pod: Pod) -> None:
        """Stop and remove, as often as it takes."""
        await self.until_done("StopPodSandbox", pod.stop)
        await self.until_done("RemovePodSandbox", pod.remove)

    async def _run(self, config: criv1.PodSandboxConfig) -> str:
        request = criv1.RunPodSandboxRequest(config=config)
        try:
            return (await self.cri.runtime.RunPodSandbox(request, timeout=CALL_SECONDS)).pod_sandbox_id
        except grpc.aio.AioRpcError as error:
            if error.code() is not Code.ALREADY_EXISTS:
                raise
        return await self._pod_named(config)

    async def _pod_named(self, config: criv1.PodSandboxConfig) -> str:
        """What the kubelet finds when it lists the pods again."""
        listed = (await self.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
        found = [pod.id for pod in listed if pod.metadata == config.metadata]
        assert len(found) == 1, f"a name that is taken has one holder, found {found}"
        return found[0]

    async def _container_named(self, pod: Pod, config: criv1.ContainerConfig) -> str:
        request = criv1.ListContainersRequest(filter=criv1.ContainerFilter(pod_sandbox_id=pod.id))
        listed = (await self.cri.runtime.ListContainers(request)).containers
        found = [container.id for container in listed if container.metadata == config.metadata]
        assert len(found) == 1, f"a name that is taken has one holder, found {found}"
        return found[0]

    async def _ready(self, pod: Pod) -> bool:
        try:
            status = await self.until_done("PodSandboxStatus", pod.status)
        except grpc.aio.AioRpcError as error:
            if error.code() is Code.NOT_FOUND:
                return False
            raise
        return status.state == criv1.SANDBOX_READY
