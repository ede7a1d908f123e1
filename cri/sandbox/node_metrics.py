"""ListPodSandboxMetrics: every ready pod's samples, gathered like the stats and written into one message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.concurrency.together import together
from cri.sandbox import measured
from cri.stats.descriptors import descriptors
from cri.stats.pod_metrics import container_samples, filesystem_samples, network_samples, write_samples
from cri.stats.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.container.engine import Engine
    from cri.sandbox.node_stats import NodeStats
    from cri.sandbox.pod_stats import Layers
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox
    from cri.stats.pod_metrics import Subject
    from cri.stats.sampler import FullReading
    from cri.stats.usage import NetworkUse, Volume


def descriptor_messages() -> list[criv1.MetricDescriptor]:
    """What ListMetricDescriptors declares."""
    return [descriptor.message for descriptor in descriptors()]


async def pod_metrics(engine: Engine, stats: NodeStats) -> list[criv1.PodSandboxMetrics]:
    """The samples of every ready sandbox and its running containers."""
    pods = stats.pods()
    containers = [container for pod in pods for container in pod.containers]
    readings, networks, layers = await together(
        stats.sampler.read_fully(map(measured.container_target, containers)),
        stats.networks([pod.sandbox for pod in pods]),
        stats.layers(containers),
    )
    volumes = await asyncio.to_thread(
        lambda: {snapshotter: volume_of(root) for snapshotter, root in layers.roots.items()}
    )
    found = []
    for pod in pods:
        message = criv1.PodSandboxMetrics(pod_sandbox_id=pod.sandbox.id)
        _write_pod(message, engine, pod.sandbox, networks.get(pod.sandbox.id))
        parent = engine.oci.default_cgroup_parent
        for container in pod.containers:
            if container.id in readings:
                subject = measured.container_subject(container, pod.sandbox, parent)
                _write_container(message, subject, container, readings[container.id], layers, volumes)
        found.append(message)
        await asyncio.sleep(0)  # hundreds of pods are tens of milliseconds of work
    return found


def _write_pod(
    message: criv1.PodSandboxMetrics, engine: Engine, sandbox: Sandbox, network: NetworkUse | None
) -> None:
    if network is None:
        return
    image = engine.images.find(sandbox.image_id)
    subject = measured.sandbox_subject(sandbox, image, engine.oci.default_cgroup_parent)
    write_samples(message.metrics, subject, network.at, network_samples(network))


def _write_container(
    message: criv1.PodSandboxMetrics,
    subject: Subject,
    container: Container,
    reading: FullReading,
    layers: Layers,
    volumes: Mapping[str, Volume | None],
) -> None:
    metrics = message.container_metrics.add(container_id=container.id).metrics
    samples = container_samples(reading, measured.container_limits(container), container.status.started_at)
    write_samples(metrics, subject, reading.usage.at, samples)
    layer = layers.usage.get(measured.layer_of(container))
    written = filesystem_samples(layer, volumes[container.snapshotter])
    write_samples(metrics, subject, reading.usage.at if layer is None else layer.at, written)
