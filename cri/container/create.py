"""CreateContainer: a record in containerd and a snapshot; no process yet.

    spec (facts gathered beside each other) ──> record ──> snapshot ──> visible

The record comes first: it keeps the snapshot from containerd's garbage collector, and after a crash it is what
recovery finds.
"""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from api.containerd import SPEC_TYPE_URL, TypedValue
from api.containerd import Container as ContainerdContainer
from cri.concurrency.undo import UndoStack
from cri.container.id_mapping import snapshot_labels
from cri.container.image_volumes import with_volume_images
from cri.container.log_path import absolute_log_path
from cri.container.plan import ContainerPlan
from cri.container.signals import signal_number, stop_signal
from cri.container.spec import build_spec
from cri.container.unpacked import with_unpacked
from cri.errors import FailedPrecondition, InvalidArgument, NotFound
from cri.observe.stages import annotate, stage
from cri.oci.refusals import check_extent, check_name
from cri.oci.resources import to_status
from cri.oci.spec import to_json
from cri.oci.user import container_user
from cri.state.changes import ChangeKind
from cri.state.container import Container
from cri.state.container_status import ContainerStatus, Phase
from cri.state.deletion import ensure_deleted
from cri.state.records import (
    CONTAINER_EXTENSION,
    KIND_CONTAINER,
    STATUS_EXTENSION,
    ContainerRecord,
    StatusRecord,
    containerd_labels,
)

if TYPE_CHECKING:
    from api.wire import criv1
    from cri.container.engine import Engine
    from cri.image.image import Image
    from cri.state.sandbox import Sandbox


def check_request(config: criv1.ContainerConfig) -> None:
    """Raise InvalidArgument naming the first field of the configuration that cannot be right."""
    if not config.metadata.name:
        raise InvalidArgument("config.metadata.name is empty")
    check_extent("config", config)
    check_name("config.metadata.name", config.metadata.name)
    check_name("config.image.image", config.image.image)
    if not config.image.image:
        raise InvalidArgument("config.image.image is empty: name an image that has been pulled")


async def create_container(
    engine: Engine, sandbox: Sandbox, name: str, config: criv1.ContainerConfig
) -> Container:
    """Make the container and add it to the index. Raises NotFound for an image that is not there."""
    identifier = secrets.token_hex(32)
    annotate(container=identifier)
    engine.node.container_names.reserve(name, identifier)
    try:
        return await _create(engine, sandbox, identifier, name, config)
    except BaseException:
        engine.node.container_names.release(name, identifier)
        raise


async def _create(
    engine: Engine, sandbox: Sandbox, identifier: str, name: str, config: criv1.ContainerConfig
) -> Container:
    _check_sandbox(engine, sandbox)
    handler = engine.handlers.get(sandbox.record.runtime_handler)
    image = engine.images.find(config.image.image, handler.platform)
    if image is None:
        raise NotFound(f"image {config.image.image!r} is not on this node; pull it first")
    signal_name = stop_signal(config.stop_signal, image.config.stop_signal)
    signal_number(signal_name)
    record = ContainerRecord(
        id=identifier,
        name=name,
        sandbox_id=sandbox.id,
        config=with_volume_images(config, engine.images),
        image_id=image.id,
        log_path=absolute_log_path(sandbox.config.log_directory, config.log_path),
        stop_signal=signal_name,
    )
    async with UndoStack(f"CreateContainer {name}") as undo:
        with stage("spec"):
            plan = ContainerPlan(record, sandbox, image, handler)
            spec = await build_spec(engine, plan, undo)
        status = ContainerStatus(Phase.CREATED, created_at=time.time_ns())
        container = Container(
            record,
            status,
            handler.snapshotter,
            process=to_json(spec["process"]),
            user=container_user(spec["process"]["user"]),
            resources=to_status(spec),
        )
        with stage("record"):
            undo.push("delete record", lambda: ensure_deleted(engine.client.containers.delete(identifier)))
            written = _containerd_record(
                container, sandbox, image, handler.runtime_type, handler.options, to_json(spec)
            )
            await engine.client.containers.create(written)
        with stage("snapshot"):
            snapshots = engine.client.snapshots(handler.snapshotter)
            undo.push("remove snapshot", lambda: ensure_deleted(snapshots.remove(identifier)))
            labels = snapshot_labels(handler, sandbox.config)
            prepare = partial(snapshots.prepare, identifier, labels=labels)
            await with_unpacked(engine, image, handler.snapshotter, prepare)
        container.task_deleted.set()
        _check_sandbox(engine, sandbox)
        engine.node.add_container(container)
        engine.node.changes.container(ChangeKind.CREATED, container)
        return container


def _check_sandbox(engine: Engine, sandbox: Sandbox) -> None:
    """A container in a sandbox that is going away would never be removed with it."""
    if sandbox.removing or sandbox.id not in engine.node.sandboxes:
        raise NotFound(f"{sandbox} is being removed")
    if not sandbox.ready:
        raise FailedPrecondition(f"{sandbox} is not ready; containers are made in ready sandboxes only")


def _containerd_record(
    container: Container,
    sandbox: Sandbox,
    image: Image,
    runtime: str,
    options: TypedValue | None,
    spec: bytes,
) -> ContainerdContainer:
    record = container.record
    stored = StatusRecord(container.status, container.resources)
    return ContainerdContainer(
        id=record.id,
        labels=containerd_labels(KIND_CONTAINER, image.config.labels, record.config.labels),
        image=image.names[0] if image.names else image.id,
        runtime=runtime,
        runtime_options=options,
        spec=TypedValue(SPEC_TYPE_URL, spec),
        snapshotter=container.snapshotter,
        snapshot_key=record.id,
        extensions={CONTAINER_EXTENSION: record.to_extension(), STATUS_EXTENSION: stored.to_extension()},
        sandbox_id=sandbox.shim_owner,
    )
