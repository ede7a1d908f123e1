"""What happens when a container's process has ended: learn why, write it down, only then say so.

The order matters. The kernel's out-of-memory counter is read before the task (and with it the cgroup) goes; the exit
is stored in the container's record and its log is complete before the status says EXITED; the task is deleted last,
because until the record is written it is the only place that knows the exit code.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Exit
from api.containerd import errors as containerd_errors
from cri.concurrency.together import together
from cri.container.records import store_status
from cri.state.changes import ChangeKind
from cri.state.container_status import ContainerStatus, Phase

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 10.0
"""How long an exit waits for the last of the log; a process left in a shared PID namespace may hold the pipe."""
SIGKILL_STATUS = 137
TASK_DELETE_ATTEMPTS = 5


async def record_exit(engine: Engine, container: Container, exit_: Exit) -> None:
    """Bring `container` to EXITED after its process ended. Idempotent; waits for a start that is under way."""
    async with container.lock:
        if container.status.phase is Phase.EXITED:
            return
        oom_killed = _oom_killed(container, exit_.status)
        status = container.status.exited(exit_.status, exit_.at, oom_killed=oom_killed)
        await _settle(engine, container, status)
    engine.supervisor.start(f"delete task {container.id[:13]}", delete_task(engine, container))


async def record_loss(engine: Engine, container: Container, finished_at: int, message: str) -> None:
    """Bring `container` to EXITED when its task vanished and nobody can say how it ended."""
    async with container.lock:
        if container.status.phase is not Phase.EXITED:
            await _settle(engine, container, container.status.lost(finished_at, message))
    container.task_deleted.set()


async def delete_task(engine: Engine, container: Container) -> None:
    """Remove what containerd still holds of an ended process, so that the snapshot can be unmounted."""
    for attempt in range(TASK_DELETE_ATTEMPTS):
        try:
            await engine.client.tasks.delete(container.id)
        except containerd_errors.NotFound:
            break
        except containerd_errors.ContainerdError as error:
            log.warning("task could not be deleted, trying again", container=container.id, error=str(error))
            await asyncio.sleep(0.1 * 2**attempt)
        else:
            break
    else:
        log.error("task of an ended container stays; removal will try again", container=container.id)
        return
    container.task_deleted.set()


async def _settle(engine: Engine, container: Container, status: ContainerStatus) -> None:
    await together(
        _drain(engine, container), store_status(engine, container, replace(container.stored, status=status))
    )
    engine.stops.end(container.id)
    container.status = status
    container.oom = None
    container.exited.set()
    engine.node.changes.container(ChangeKind.STOPPED, container)
    log.info("container ended", container=container.id, exit_code=status.exit_code, reason=status.reason)


async def _drain(engine: Engine, container: Container) -> None:
    if not await engine.keeper.drained(container.id, DRAIN_SECONDS):
        log.warning("log is still open after the container ended", container=container.id)
    await engine.keeper.release(container.id)


def _oom_killed(container: Container, exit_status: int) -> bool:
    """Whether the kernel's memory limit ended it. A child's OOM kill does not make a normal end one."""
    if exit_status != SIGKILL_STATUS:
        return False
    return container.oom_seen or bool(container.oom and container.oom.kills())
