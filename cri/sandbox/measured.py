"""What of a pod is measured, and under which names: the index's objects as `cri.stats` wants them. Pure.

A pod's figures are those of the cgroup that the kubelet made for it. Other clients put several pods below one parent,
which would then count for each of them; there a pod is the sum of its containers and its sandbox's own process.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci.cgroups import container_cgroup, pod_cgroup
from cri.state.filters import labels_match
from cri.stats.pod_metrics import Limits, Subject
from cri.stats.target import PodTarget, ProcessTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.image.image import Image
    from cri.state.container import Container
    from cri.state.node import Node
    from cri.state.sandbox import Sandbox
    from cri.stats.target import Target
    from cri.stats.writable_layers import Layer

UNIFIED_RESERVATION = "memory.low"


def targets(node: Node) -> Iterator[Target]:
    """Everything that runs now."""
    for container in node.containers:
        if is_measured(container):
            yield container_target(container)
    for sandbox in node.sandboxes:
        if sandbox.ready:
            yield from sandbox_targets(sandbox)


def is_measured(container: Container) -> bool:
    """Whether it has a cgroup to be read."""
    return container.running and container.status.pid > 0


def container_target(container: Container) -> ProcessTarget:
    """The cgroup of a running container."""
    return ProcessTarget(container.id, container.status.pid)


def sandbox_targets(sandbox: Sandbox) -> list[Target]:
    """The pod's own cgroup, or that of the sandbox's process, to which the containers must be added; none without."""
    pod = own_cgroup(sandbox)
    if pod is not None:
        return [pod]
    return [ProcessTarget(sandbox.id, sandbox.pid)] if sandbox.pid else []


def own_cgroup(sandbox: Sandbox) -> PodTarget | None:
    """The cgroup that holds this pod and nothing else: by the kubelet's naming it bears the pod's UID."""
    cgroup = pod_cgroup(sandbox.config.linux.cgroup_parent)
    name, uid = posixpath.basename(cgroup), sandbox.config.metadata.uid
    # In the name of a slice a dash parts it from its parent, so the kubelet writes underscores.
    if uid and (uid in name or uid.replace("-", "_") in name):
        return PodTarget(sandbox.id, cgroup)
    return None


def layer_of(container: Container) -> Layer:
    """The container's writable layer."""
    return container.snapshotter, container.id


def container_matches(container: Container, wanted: criv1.ContainerStatsFilter) -> bool:
    """Whether ListContainerStats with this filter shows the container; ids match by prefix."""
    return (
        container.id.startswith(wanted.id)
        and container.record.sandbox_id.startswith(wanted.pod_sandbox_id)
        and labels_match(container.config.labels, wanted.label_selector)
    )


def sandbox_matches(sandbox: Sandbox, wanted: criv1.PodSandboxStatsFilter) -> bool:
    """Whether ListPodSandboxStats with this filter shows the sandbox."""
    return sandbox.id.startswith(wanted.id) and labels_match(sandbox.config.labels, wanted.label_selector)


def container_attributes(container: Container) -> criv1.ContainerAttributes:
    """Whose figures they are."""
    config = container.config
    return criv1.ContainerAttributes(
        id=container.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )


def sandbox_attributes(sandbox: Sandbox) -> criv1.PodSandboxAttributes:
    """Whose figures they are."""
    config = sandbox.config
    return criv1.PodSandboxAttributes(
        id=sandbox.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )


def container_subject(container: Container, sandbox: Sandbox, default_parent: str) -> Subject:
    """The labels of a container's metrics; `default_parent` is the cgroup of pods without one of their own."""
    asked = container.config.image
    return Subject(
        container=container.config.metadata.name,
        id=container_cgroup(sandbox.config.linux.cgroup_parent, container.id, default_parent),
        image=asked.user_specified_image or asked.image,
        name=container.id,
        namespace=sandbox.config.metadata.namespace,
        pod=sandbox.config.metadata.name,
    )


def sandbox_subject(sandbox: Sandbox, image: Image | None, default_parent: str) -> Subject:
    """The labels of a pod's own metrics: those of its sandbox container, whose `container` is empty."""
    return Subject(
        container="",
        id=container_cgroup(sandbox.config.linux.cgroup_parent, sandbox.id, default_parent),
        image=image.repo_tags[0] if image is not None and image.repo_tags else sandbox.image_id,
        name=sandbox.id,
        namespace=sandbox.config.metadata.namespace,
        pod=sandbox.config.metadata.name,
    )


def container_limits(container: Container) -> Limits:
    """The limits in force."""
    resources = container.resources.linux
    reservation = resources.unified.get(UNIFIED_RESERVATION, "")
    return Limits(
        cpu_period=resources.cpu_period,
        cpu_quota=resources.cpu_quota,
        cpu_shares=resources.cpu_shares,
        memory=resources.memory_limit_in_bytes,
        memory_reservation=int(reservation) if reservation.isdecimal() else 0,
        memory_and_swap=resources.memory_swap_limit_in_bytes,
    )
