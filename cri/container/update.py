"""UpdateContainerResources: new limits for a container, all of them or none.

    spec in the record ──> kernel (a running container only) ──> status in the record

The spec is the intent and goes first; a kernel that refuses takes it back. What the status tells is written last:
after a crash in between it tells the old limits, and the kubelet asks again. A created container has no cgroup yet;
its spec alone counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from api.containerd import LINUX_RESOURCES_TYPE_URL, SPEC_TYPE_URL, TypedValue
from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from api.wire import criv1
from cri.concurrency.undo import UndoStack
from cri.container.records import store_status
from cri.errors import FailedPrecondition
from cri.observe.stages import stage
from cri.oci.resources import to_status, updated_spec
from cri.oci.spec import Resources, from_json, to_json
from cri.state.container_status import CRI_STATES, Phase

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)


async def update_container(
    engine: Engine, container: Container, request: criv1.LinuxContainerResources
) -> None:
    """Put the limits that `request` sets in force; a zero or empty field stays as it is (CRI).

    Raises InvalidArgument for values that no kernel takes, FailedPrecondition for a container that has ended or is
    being removed, and when the kernel refuses: then everything is as it was.
    """
    async with container.lock:
        _check_updatable(container)
        stored = (await engine.client.containers.get(container.id)).spec
        if stored is None:
            raise FailedPrecondition(f"the record of {container} in containerd has no spec to update")
        spec = updated_spec(from_json(stored.value), request, engine.host, engine.oci)
        async with UndoStack(f"UpdateContainerResources {container.id[:13]}") as undo:
            undo.push("restore spec", lambda: _write_spec(engine, container, stored))
            with stage("record"):
                await _write_spec(engine, container, TypedValue(SPEC_TYPE_URL, to_json(spec)))
            if container.running:
                with stage("task-update"):
                    await _apply(engine, container, spec["linux"]["resources"])
        container.resources = to_status(spec)
        with stage("status"):
            await store_status(engine, container, container.stored)
    log.info("container resources updated", container=container.id)


def _check_updatable(container: Container) -> None:
    if container.removing:
        raise FailedPrecondition(f"{container} is being removed; its resources cannot be updated")
    if container.status.phase not in (Phase.CREATED, Phase.RUNNING):
        state = criv1.ContainerState.Name(CRI_STATES[container.status.phase])
        raise FailedPrecondition(
            f"{container} is in state {state}; resources of created and running containers can be updated"
        )


async def _write_spec(engine: Engine, container: Container, spec: TypedValue) -> None:
    await engine.client.containers.update(ContainerdContainer(id=container.id, spec=spec), "spec")


async def _apply(engine: Engine, container: Container, resources: Resources) -> None:
    wanted = TypedValue(LINUX_RESOURCES_TYPE_URL, to_json(resources))
    try:
        await engine.client.tasks.update(container.id, wanted)
    except containerd_errors.NotFound as error:
        raise FailedPrecondition(f"{container} ended before its resources could be updated") from error
    except containerd_errors.Unknown as error:
        raise FailedPrecondition(
            f"the limits of {container} stay as they were, the runtime refused the new ones: {error.details}"
        ) from error
