"""RemoveContainer: forced and idempotent; its log stays, and its snapshot goes right after the answer.

    task gone ──> record ∥ log's end and files ──> answer ──> snapshot

Without the record nothing owns the snapshot: if it is not removed (a crash, a containerd that refuses), the janitor and
containerd's garbage collector both find it. Whoever waits for the call need not wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

import structlog

from api.containerd import errors as containerd_errors
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import together
from cri.concurrency.undo import tell_of_leftover
from cri.container.fifos import close_output
from cri.container.stop import stop_container
from cri.container.task_deletion import end_task
from cri.linux import cgroup_places
from cri.observe.stages import stage
from cri.oci.cgroups import container_cgroup
from cri.state.container_status import Phase
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from pathlib import Path

    from cri.container.engine import Engine
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)

TASK_DELETION_SECONDS = 30.0


async def remove_container(engine: Engine, container: Container) -> None:
    """Stop the container if it runs, and remove task, snapshot, files and record. Safe to repeat and to run twice."""
    await stop_container(engine, container, 0)
    async with container.lock:
        if container.id not in engine.node.containers:
            return
        container.removing = True
        try:
            await _remove(engine, container)
        except BaseException:
            container.removing = False
            raise
        engine.node.remove_container(container)
        engine.supervisor.start(f"remove snapshot {container.id[:13]}", _remove_snapshot(engine, container))
    log.info("container removed", container=container.id)


async def _remove(engine: Engine, container: Container) -> None:
    with stage("task-delete"):
        await _await_task_deletion(engine, container)
    await together(_remove_record(engine, container), _remove_files(engine, container))


async def _remove_record(engine: Engine, container: Container) -> None:
    with stage("record"):
        await ensure_deleted(engine.client.containers.delete(container.id))


async def _remove_snapshot(engine: Engine, container: Container) -> None:
    try:
        await ensure_deleted(engine.client.snapshots(container.snapshotter).remove(container.id))
    except containerd_errors.ContainerdError as error:
        log.warning("snapshot of a removed container stays for now", container=container.id, error=str(error))
        tell_of_leftover("RemoveContainer", "remove snapshot", error)


async def _remove_files(engine: Engine, container: Container) -> None:
    with stage("files"):
        await close_output(engine, container)
        files = [engine.paths.container_state(container.id), engine.paths.container_files(container.id)]
        await finished_in_thread(_remove_trees, files)
    sandbox = engine.node.sandboxes.find(container.record.sandbox_id)
    if sandbox is not None:
        await remove_cgroup(engine, sandbox, container.id)


async def remove_cgroup(engine: Engine, sandbox: Sandbox, container_id: str) -> None:
    """Remove what is left of a container's cgroup: a runc killed at its work leaves it in some of the trees."""
    parent = sandbox.config.linux.cgroup_parent
    cgroup = container_cgroup(parent, container_id, engine.oci.default_cgroup_parent)
    try:
        await finished_in_thread(cgroup_places.remove, cgroup)
    except OSError as error:
        log.warning("cgroup of a removed container stays", cgroup=cgroup, error=str(error))


async def _await_task_deletion(engine: Engine, container: Container) -> None:
    """After this there is no task. The exit of a container that ran sees to it; if it does not, or there was no exit,
    the task is ended here.
    """
    if container.status.phase not in (Phase.CREATED, Phase.UNKNOWN):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(container.task_deleted.wait(), TASK_DELETION_SECONDS)
            return
    await end_task(engine, container)


def _remove_trees(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
