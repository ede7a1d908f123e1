"""A pod's figures put together from readings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.sandbox import measured
from cri.stats import messages
from cri.stats.sampler import Reading
from cri.stats.usage import combined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.wire import criv1
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox
    from cri.stats.target import Target
    from cri.stats.usage import LayerUse, NetworkUse
    from cri.stats.writable_layers import Layer


@dataclass(frozen=True, slots=True)
class Layers:
    """Writable layers, and the directory that each snapshotter keeps them in."""

    usage: Mapping[Layer, LayerUse]
    roots: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PodReadings:
    """What was read of many pods at once, by target key or sandbox id; what is missing is gone."""

    usage: Mapping[str, Reading]
    threads: Mapping[str, int]
    networks: Mapping[str, NetworkUse]
    layers: Layers


@dataclass(frozen=True, slots=True)
class MeasuredPod:
    """A ready sandbox with those of its containers that run."""

    sandbox: Sandbox
    containers: Sequence[Container]

    @property
    def whole(self) -> Sequence[Target]:
        """The cgroups that together are the pod: its own one, or one for each process."""
        own = measured.own_cgroup(self.sandbox)
        if own is not None:
            return [own]
        return [*measured.sandbox_targets(self.sandbox), *map(measured.container_target, self.containers)]

    def message(self, read: PodReadings) -> criv1.PodSandboxStats | None:
        """The pod's stats, None when it has gone since."""
        whole = [read.usage[target.key] for target in self.whole if target.key in read.usage]
        if not whole and measured.sandbox_targets(self.sandbox):
            return None
        reading = whole[0] if len(whole) == 1 else _sum(whole)
        return messages.pod_stats(
            measured.sandbox_attributes(self.sandbox),
            reading.usage,
            reading.nano_cores,
            read.networks.get(self.sandbox.id),
            sum(read.threads.get(target.key, 0) for target in self.whole),
            [
                container_message(container, read.usage[container.id], read.layers)
                for container in self.containers
                if container.id in read.usage
            ],
        )


def container_message(container: Container, reading: Reading, layers: Layers) -> criv1.ContainerStats:
    """A running container's stats."""
    return messages.container_stats(
        measured.container_attributes(container),
        reading.usage,
        reading.nano_cores,
        layers.usage.get(measured.layer_of(container)),
        layers.roots[container.snapshotter],
    )


def idle_container_message(container: Container, layers: Layers) -> criv1.ContainerStats:
    """The stats of a container that does not run."""
    return messages.idle_container_stats(
        measured.container_attributes(container),
        layers.usage.get(measured.layer_of(container)),
        layers.roots[container.snapshotter],
    )


def _sum(readings: Sequence[Reading]) -> Reading:
    rates = [reading.nano_cores for reading in readings if reading.nano_cores is not None]
    usage = combined([reading.usage for reading in readings])
    return Reading(usage, sum(rates) if len(rates) == len(readings) else None)
