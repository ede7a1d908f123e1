"""Which sandboxes and containers a List request asks for (CRI: all conditions of a filter are ANDed).

An absent or empty condition matches everything; ids match by prefix, as crictl sends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.state.container_status import CRI_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.wire import criv1
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox


def matching_sandboxes(sandboxes: Iterable[Sandbox], wanted: criv1.PodSandboxFilter) -> list[Sandbox]:
    """The sandboxes that ListPodSandbox with this filter shows."""
    if not wanted.ListFields():  # the kubelet's relist; to ask each object would cost more than the rest
        return list(sandboxes)
    return [sandbox for sandbox in sandboxes if sandbox_matches(sandbox, wanted)]


def matching_containers(containers: Iterable[Container], wanted: criv1.ContainerFilter) -> list[Container]:
    """The containers that ListContainers with this filter shows."""
    if not wanted.ListFields():
        return list(containers)
    return [container for container in containers if container_matches(container, wanted)]


def sandbox_matches(sandbox: Sandbox, wanted: criv1.PodSandboxFilter) -> bool:
    """Whether ListPodSandbox with this filter shows the sandbox."""
    return (
        sandbox.id.startswith(wanted.id)
        and (not wanted.HasField("state") or sandbox.state == wanted.state.state)
        and labels_match(sandbox.config.labels, wanted.label_selector)
    )


def container_matches(container: Container, wanted: criv1.ContainerFilter) -> bool:
    """Whether ListContainers with this filter shows the container."""
    return (
        container.id.startswith(wanted.id)
        and container.record.sandbox_id.startswith(wanted.pod_sandbox_id)
        and (not wanted.HasField("state") or CRI_STATES[container.status.phase] == wanted.state.state)
        and labels_match(container.config.labels, wanted.label_selector)
    )


def labels_match(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether `labels` has every pair of `selector`."""
    return all(labels.get(key) == value for key, value in selector.items())
