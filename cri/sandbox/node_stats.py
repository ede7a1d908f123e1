"""Measures what the stats and metrics RPCs tell: each kind of figure for all objects at once.

Cgroups are read first and interfaces after them, beside what containerd is asked: two threads that read would hand the
interpreter's lock over at every system call. A container that dies while it is measured drops out of the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cri.concurrency.together import together
from cri.errors import FailedPrecondition
from cri.linux.threads import in_own_thread
from cri.sandbox import measured
from cri.sandbox.pod_stats import (
    Layers,
    MeasuredPod,
    PodReadings,
    container_message,
    idle_container_message,
)
from cri.stats.network import network_use, pinned_network_use
from cri.stats.sampler import Sampler
from cri.stats.writable_layers import WritableLayers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from api.wire import criv1
    from cri.container.engine import Engine
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox
    from cri.stats.sampler import Reading
    from cri.stats.settings import StatsSettings
    from cri.stats.usage import NetworkUse


class NodeStats:
    """One per server; `run` is kept alive by the supervisor."""

    def __init__(self, engine: Engine, settings: StatsSettings) -> None:
        self._node = engine.node
        self._layers = WritableLayers(engine.client, engine.supervisor, settings.stats_collect_period)
        self.sampler = Sampler(lambda: measured.targets(engine.node), settings)

    async def run(self) -> None:
        """Take samples for ever."""
        await self.sampler.run()

    async def container(self, container: Container) -> criv1.ContainerStats:
        """The stats of one container; of one that does not run only what it has on disk."""
        found = await self.containers([container])
        return found[0] if found else idle_container_message(container, await self.layers([container]))

    async def matching_containers(self, wanted: criv1.ContainerStatsFilter) -> list[criv1.ContainerStats]:
        """The stats of running containers that a filter asks for."""
        return await self.containers(
            [
                container
                for container in self._node.containers
                if measured.container_matches(container, wanted)
            ]
        )

    async def containers(self, containers: Iterable[Container]) -> list[criv1.ContainerStats]:
        """The stats of those containers that run."""
        running = [container for container in containers if measured.is_measured(container)]
        readings, layers = await together(
            self.sampler.read(map(measured.container_target, running)), self.layers(running)
        )
        return [
            container_message(container, readings[container.id], layers)
            for container in running
            if container.id in readings
        ]

    async def sandbox(self, sandbox: Sandbox) -> criv1.PodSandboxStats:
        """The stats of one pod. Raises FailedPrecondition if it is not ready."""
        found = await self.sandboxes([sandbox])
        if not found:
            raise FailedPrecondition(f"{sandbox} is not ready; there is nothing to measure")
        return found[0]

    async def matching_sandboxes(self, wanted: criv1.PodSandboxStatsFilter) -> list[criv1.PodSandboxStats]:
        """The stats of ready sandboxes that a filter asks for."""
        return await self.sandboxes(
            [sandbox for sandbox in self._node.sandboxes if measured.sandbox_matches(sandbox, wanted)]
        )

    async def sandboxes(self, sandboxes: Iterable[Sandbox]) -> list[criv1.PodSandboxStats]:
        """The stats of those sandboxes that are ready."""
        pods = self.pods(sandboxes)
        containers = [container for pod in pods for container in pod.containers]
        whole = {target.key: target for pod in pods for target in pod.whole}
        each = {target.key: target for target in map(measured.container_target, containers)}

        async def read() -> tuple[Mapping[str, Reading], Mapping[str, int], Mapping[str, NetworkUse]]:
            usage = await self.sampler.read({**whole, **each}.values())
            threads = await self.sampler.threads(whole.values())
            return usage, threads, await self.networks([pod.sandbox for pod in pods])

        (usage, threads, networks), layers = await together(read(), self.layers(containers))
        readings = PodReadings(usage, threads, networks, layers)
        return [message for pod in pods if (message := pod.message(readings)) is not None]

    def pods(self, sandboxes: Iterable[Sandbox] | None = None) -> list[MeasuredPod]:
        """The ready ones of these sandboxes (of all), each with its running containers."""
        return [
            MeasuredPod(sandbox, self._running_in(sandbox))
            for sandbox in (self._node.sandboxes if sandboxes is None else sandboxes)
            if sandbox.ready
        ]

    async def layers(self, containers: Sequence[Container]) -> Layers:
        """What containers have written, as measured of late, and where."""
        self._layers.forget_all_but(map(measured.layer_of, self._node.containers))
        snapshotters = {container.snapshotter for container in containers}
        roots = {name: await self._layers.root(name) for name in snapshotters}
        return Layers(await self._layers.usage(map(measured.layer_of, containers)), roots)

    async def networks(self, sandboxes: Sequence[Sandbox]) -> Mapping[str, NetworkUse]:
        """Traffic by sandbox id; missing for host network and where the namespace is gone."""
        own = [sandbox for sandbox in sandboxes if not sandbox.record.host_network]
        processes = {sandbox.id: pid for sandbox in own if (pid := self._process_in(sandbox))}
        found = await in_own_thread(
            "stats-network", lambda: {key: network_use(pid) for key, pid in processes.items()}
        )
        for sandbox in own:
            if found.get(sandbox.id) is None:  # no process to see it through, or one that has ended since
                found[sandbox.id] = await pinned_network_use(Path(sandbox.record.network_namespace))
        return {key: use for key, use in found.items() if use is not None}

    def _process_in(self, sandbox: Sandbox) -> int:
        """A process in the pod's network namespace, through which it is seen without entering it; 0 without one."""
        return sandbox.pid or next((each.status.pid for each in self._running_in(sandbox)), 0)

    def _running_in(self, sandbox: Sandbox) -> list[Container]:
        return [each for each in self._node.containers_of(sandbox.id) if measured.is_measured(each)]
