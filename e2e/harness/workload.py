"""Pods and containers as a test handles them: short calls on handles, everything removed at the end."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.wire import criv1
from e2e.harness.cri import Cri, container_config, pod_config
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import LogLine, log_lines
from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_SECONDS = patiently(20.0)
SETTLED_LOOKS = 12


@dataclass(slots=True)
class Container:
    """One container of a pod."""

    cri: Cri
    pod: Pod
    id: str
    config: criv1.ContainerConfig

    @property
    def log_file(self) -> Path:
        """Where the kubelet would look for its output."""
        return Path(self.pod.config.log_directory, self.config.log_path)

    async def start(self) -> None:
        await self.cri.runtime.StartContainer(criv1.StartContainerRequest(container_id=self.id))

    async def stop(self, grace_seconds: int = 0) -> None:
        await self.cri.runtime.StopContainer(
            criv1.StopContainerRequest(container_id=self.id, timeout=grace_seconds)
        )

    async def reopen_log(self) -> None:
        request = criv1.ReopenContainerLogRequest(container_id=self.id)
        await self.cri.runtime.ReopenContainerLog(request)

    async def remove(self) -> None:
        await self.cri.runtime.RemoveContainer(criv1.RemoveContainerRequest(container_id=self.id))

    async def status(self) -> criv1.ContainerStatus:
        answer = await self.cri.runtime.ContainerStatus(criv1.ContainerStatusRequest(container_id=self.id))
        return answer.status

    async def exited(self) -> criv1.ContainerStatus:
        """Wait until the status says EXITED, and return it."""
        return await self.when(lambda status: status.state == criv1.CONTAINER_EXITED, "EXITED")

    async def when(self, true: Callable[[criv1.ContainerStatus], bool], what: str) -> criv1.ContainerStatus:
        """Wait until something holds for the status."""
        return await eventually(self.status, true, what, EXIT_SECONDS)

    async def settled_log(self) -> list[LogLine]:
        """The log's records once the container has exited and the file does not grow any more.

        A server may tell the exit before the last of the output has gone through the pipe to the disk.
        """
        await self.exited()
        sizes = [-1]
        async with asyncio.timeout(EXIT_SECONDS):
            while len(sizes) < SETTLED_LOOKS or len(set(sizes[-SETTLED_LOOKS:])) > 1:
                await asyncio.sleep(0.03)
                sizes.append(self.log_file.stat().st_size if self.log_file.exists() else 0)
        return log_lines(self.log_file)

    async def until_process(self, command: str, *, runs: bool) -> None:
        """Wait until a command line is, or is no longer, among the container's processes."""
        await eventually(
            lambda: self.output_of("ps -o args"),
            lambda listed: (command in listed) is runs,
            f"`{command}` {'running' if runs else 'gone'}",
        )

    async def execute(
        self, *command: str, timeout_seconds: int = int(patiently(10))
    ) -> criv1.ExecSyncResponse:
        return await self.cri.runtime.ExecSync(
            criv1.ExecSyncRequest(container_id=self.id, cmd=command, timeout=timeout_seconds)
        )

    async def output_of(self, script: str) -> str:
        """The standard output of a shell script that must succeed, without the last newline."""
        answer = await self.execute("sh", "-c", script)
        assert answer.exit_code == 0, (
            f"`{script}` ended with {answer.exit_code}: {answer.stdout.decode()} {answer.stderr.decode()}"
        )
        return answer.stdout.decode().removesuffix("\n")


@dataclass(slots=True)
class Pod:
    """One pod sandbox."""

    cri: Cri
    id: str
    config: criv1.PodSandboxConfig
    image: str

    async def create(self, name: str = "main", **settings: Any) -> Container:
        """Create a container; settings are those of `container_config`, the image is busybox if not given."""
        config = container_config(name, settings.pop("image", self.image), **settings)
        return await self.create_as(config)

    async def create_as(self, config: criv1.ContainerConfig) -> Container:
        answer = await self.cri.runtime.CreateContainer(
            criv1.CreateContainerRequest(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        )
        return Container(self.cri, self, answer.container_id, config)

    async def run(self, name: str = "main", **settings: Any) -> Container:
        """Create a container and start it."""
        container = await self.create(name, **settings)
        await container.start()
        return container

    async def sleeper(self, name: str = "main", **settings: Any) -> Container:
        """A container that runs until it is stopped, and ends at once when asked to."""
        script = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"
        return await self.run(name, command=["sh", "-c", script], **settings)

    async def status(self) -> criv1.PodSandboxStatus:
        request = criv1.PodSandboxStatusRequest(pod_sandbox_id=self.id)
        return (await self.cri.runtime.PodSandboxStatus(request)).status

    async def address(self) -> str:
        """The pod's first IP."""
        return (await self.status()).network.ip

    async def stop(self) -> None:
        await self.cri.runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id=self.id))

    async def remove(self) -> None:
        await self.cri.runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=self.id))


@dataclass(slots=True)
class Workloads:
    """Makes pods for one test and removes them all when it ends."""

    cri: Cri
    logs: Path
    image: str
    cgroup_parent: str
    made: list[Pod] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def config(self, name: str = "pod", **settings: Any) -> criv1.PodSandboxConfig:
        """A configuration with a log directory of its own; settings are those of `pod_config`."""
        directory = self.logs / f"{name}-{next(self._numbers)}"
        return pod_config(name, log_directory=str(directory), cgroup_parent=self.cgroup_parent, **settings)

    async def pod(self, name: str = "pod", runtime_handler: str = "", **settings: Any) -> Pod:
        """Run a pod sandbox."""
        return await self.pod_as(self.config(name, **settings), runtime_handler)

    async def pod_as(self, config: criv1.PodSandboxConfig, runtime_handler: str = "") -> Pod:
        """Run a pod sandbox with a ready configuration."""
        request = criv1.RunPodSandboxRequest(config=config, runtime_handler=runtime_handler)
        answer = await self.cri.runtime.RunPodSandbox(request)
        pod = Pod(self.cri, answer.pod_sandbox_id, config, self.image)
        self.made.append(pod)
        return pod

    async def remove(self, pods: Sequence[Pod] | None = None) -> None:
        """Stop and remove pods with their containers; all of them if none are named."""
        for pod in list(self.made if pods is None else pods):
            await pod.stop()
            await pod.remove()
            self.made.remove(pod)
