"""The resources of a container as its status shows them."""

from __future__ import annotations

from api.wire import criv1


def effective_resources(config: criv1.ContainerConfig) -> criv1.ContainerResources:
    """What a new container is given: the request's resources. kubelet compares them in an in-place resize."""
    if not config.linux.HasField("resources"):
        return criv1.ContainerResources()
    return criv1.ContainerResources(linux=config.linux.resources)
