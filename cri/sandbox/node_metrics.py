"""ListPodSandboxMetrics: every ready pod's samples, gathered like the stats and put into the wire form pod by pod."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.concurrency.together import together
from cri.sandbox import measured
from cri.stats.descriptors import descriptors
from cri.stats.encoded_samples import encoded_container, encoded_pod, encoded_samples
from cri.stats.pod_metrics import container_samples, filesystem_samples, network_samples
from cri.stats.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.wire import criv1
    from cri.container.engine import Engine
    from cri.sandbox.node_stats import NodeStats
    from cri.sandbox.pod_stats import Layers, MeasuredPod
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox
    from cri.stats.pod_metrics import Subject
    from cri.stats.sampler import FullReading
    from cri.stats.usage import NetworkUse, Volume


def descriptor_messages() -> list[criv1.MetricDescriptor]:
    """What ListMetricDescriptors declares."""
    return [descriptor.message for descriptor in descriptors()]


async def pod_metrics(engine: Engine, stats: NodeStats) -> list[bytes]:
    """The samples of every ready sandbox and its running containers: an encoded PodSandboxMetrics each."""
    pods = stats.pods()
    containers = [container for pod in pods for container in pod.containers]
    (readings, networks), layers = await together(_read(stats, pods, containers), stats.layers(containers))
    volumes = await asyncio.to_thread(
        lambda: {snapshotter: volume_of(root) for snapshotter, root in layers.roots.items()}
    )
    parent = engine.oci.default_cgroup_parent
    found = []
    for pod in pods:
        own = _pod_samples(engine, pod.sandbox, networks.get(pod.sandbox.id))
        each = [
            _container(
                measured.container_subject(container, pod.sandbox, parent),
                container,
                readings[container.id],
                layers,
                volumes,
            )
            for container in pod.containers
            if container.id in readings
        ]
        found.append(encoded_pod(pod.sandbox.id, own, each))
        await asyncio.sleep(0)  # hundreds of pods are tens of milliseconds of work
    return found


async def _read(
    stats: NodeStats, pods: Sequence[MeasuredPod], containers: Sequence[Container]
) -> tuple[Mapping[str, FullReading], Mapping[str, NetworkUse]]:
    """Cgroups, then interfaces: `node_stats` says why not at once."""
    readings = await stats.sampler.read_fully(map(measured.container_target, containers))
    return readings, await stats.networks([pod.sandbox for pod in pods])


def _pod_samples(engine: Engine, sandbox: Sandbox, network: NetworkUse | None) -> bytes:
    if network is None:
        return b""
    image = engine.images.find(sandbox.image_id)
    subject = measured.sandbox_subject(sandbox, image, engine.oci.default_cgroup_parent)
    return encoded_samples(subject, network.at, network_samples(network))


def _container(
    subject: Subject,
    container: Container,
    reading: FullReading,
    layers: Layers,
    volumes: Mapping[str, Volume | None],
) -> bytes:
    samples = container_samples(reading, measured.container_limits(container), container.status.started_at)
    layer = layers.usage.get(measured.layer_of(container))
    written = filesystem_samples(layer, volumes[container.snapshotter])
    return encoded_container(
        container.id,
        encoded_samples(subject, reading.usage.at, samples),
        encoded_samples(subject, reading.usage.at if layer is None else layer.at, written),
    )
