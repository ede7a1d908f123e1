"""Rebuilds the index after a start of the server, and carries out what recovery decided, in parallel."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from api.containerd import ProcessStatus
from api.containerd import errors as containerd_errors
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import together
from cri.container.exit import delete_task as delete_container_task
from cri.container.id_mapping import release_layers
from cri.container.records import store_status
from cri.container.start import kill_and_delete, streams_of
from cri.linux.cgroups import OomCounter
from cri.linux.namespaces import is_namespace
from cri.oci.spec import from_json, to_json
from cri.oci.user import container_user
from cri.sandbox.process import delete_task as delete_sandbox_task
from cri.state.changes import ChangeKind
from cri.state.container import Container
from cri.state.container_status import Phase
from cri.state.records import KIND_CONTAINER, KIND_LABEL, KIND_SANDBOX
from cri.state.recovery import Observed, RecoveredContainer, RecoveredSandbox, Recovery, recover
from cri.state.sandbox import Sandbox

if TYPE_CHECKING:
    from cri.logs.client import Followed
    from cri.sandbox.engine import PodEngine

log = structlog.get_logger(__name__)


async def rebuild(pods: PodEngine) -> Recovery:
    """Fill the index from containerd and start the clean-up that recovery asks for. Raises ContainerdError."""
    engine = pods.engine
    await finished_in_thread(release_layers, engine.paths)
    kinds = [f'labels."{KIND_LABEL}"=={kind}' for kind in (KIND_SANDBOX, KIND_CONTAINER)]
    records, tasks = await together(engine.client.containers.list(*kinds), engine.client.tasks.list())
    observed = Observed(
        records=records,
        tasks={task.container_id: task for task in tasks},
        namespace_pinned=lambda path: is_namespace(Path(path)),
        now=time.time_ns(),
    )
    outcome = await asyncio.to_thread(recover, observed)
    for identifier, reason in outcome.quarantined.items():
        log.error("record in containerd is unreadable and left alone", container=identifier, reason=reason)
    for sandbox in outcome.sandboxes:
        _restore_sandbox(pods, sandbox)
    for container in outcome.containers:
        _restore_container(pods, container)
    await engine.keeper.resume()
    if engine.keeper.outdated:
        await engine.keeper.replace()
    log.info("state recovered", sandboxes=len(outcome.sandboxes), containers=len(outcome.containers))
    return outcome


def to_follow(pods: PodEngine) -> list[Followed]:
    """The output of every running container, for a log keeper that was started again."""
    return [
        streams_of(pods.engine, container) for container in pods.engine.node.containers if container.running
    ]


def _restore_sandbox(pods: PodEngine, found: RecoveredSandbox) -> None:
    engine = pods.engine
    sandbox = Sandbox(
        found.record, ready=found.ready, pid=found.pid, snapshotter=found.containerd.snapshotter
    )
    if not found.pid:
        sandbox.ended.set()
    if not found.pid and not found.stale_task:
        sandbox.task_deleted.set()
    engine.node.add_sandbox(sandbox)
    if found.stale_task:
        engine.supervisor.start(
            f"delete sandbox task {sandbox.id[:13]}", delete_sandbox_task(engine, sandbox)
        )


def _restore_container(pods: PodEngine, found: RecoveredContainer) -> None:
    engine = pods.engine
    spec = from_json(found.containerd.spec.value) if found.containerd.spec else {}
    process = spec.get("process", {})
    container = Container(
        found.record,
        found.status,
        found.containerd.snapshotter,
        process=to_json(process),
        user=container_user(process.get("user", {})),
        resources=found.resources,
    )
    if container.running:
        container.oom = OomCounter.of(container.status.pid)
    elif found.status.phase is Phase.EXITED:
        container.exited.set()
    if not container.running and not found.stale_task:
        container.task_deleted.set()
    engine.node.add_container(container)
    if found.changed and found.status.phase is Phase.EXITED:  # nobody was there to tell it when it happened
        engine.node.changes.container(ChangeKind.STOPPED, container)
    if found.changed or found.stale_task:
        engine.supervisor.start(f"settle {container.id[:13]}", _settle(pods, container, found))


async def _settle(pods: PodEngine, container: Container, found: RecoveredContainer) -> None:
    """Write what was learnt into the record before the task, its only other witness, is deleted."""
    engine = pods.engine
    if found.changed:
        await store_status(engine, container, container.stored)
    if found.stale_task:
        task = await _task_status(pods, container.id)
        if task is ProcessStatus.STOPPED:
            await engine.keeper.release(container.id)
            await delete_container_task(engine, container)
        else:
            await kill_and_delete(engine, container)


async def _task_status(pods: PodEngine, container_id: str) -> ProcessStatus:
    try:
        return (await pods.engine.client.tasks.get(container_id)).status
    except containerd_errors.NotFound:
        return ProcessStatus.STOPPED
