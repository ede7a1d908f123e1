"""RemoveContainer: forced and idempotent; nothing of the container is left when it returns, its log excepted.

    task gone ──> snapshot ∥ log's end and files ──> record

The record goes last: while it is there, a crash leaves something that the next start can finish removing, and the name
stays taken.
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
from cri.container.fifos import close_output
from cri.container.stop import stop_container
from cri.container.task_deletion import end_task
from cri.observe.stages import stage
from cri.state.container_status import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from cri.container.engine import Engine
    from cri.state.container import Container

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
    log.info("container removed", container=container.id)


async def _remove(engine: Engine, container: Container) -> None:
    with stage("task-delete"):
        await _await_task_deletion(engine, container)
    await together(_remove_snapshot(engine, container), _remove_files(engine, container))
    with stage("record"):
        try:
            await engine.client.containers.delete(container.id)
        except containerd_errors.NotFound:
            pass


async def _remove_snapshot(engine: Engine, container: Container) -> None:
    with stage("snapshot"):
        try:
            await engine.client.snapshots(container.snapshotter).remove(container.id)
        except containerd_errors.NotFound:
            pass


async def _remove_files(engine: Engine, container: Container) -> None:
    with stage("files"):
        await close_output(engine, container)
        files = [engine.paths.container_state(container.id), engine.paths.container_files(container.id)]
        await finished_in_thread(_remove_trees, files)


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
