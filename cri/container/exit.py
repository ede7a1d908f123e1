"""What happens when a container's process has ended: learn why, write it down, only then say so.

The order matters. The kernel's out-of-memory counter is read before the task (and with it the cgroup) goes; the exit
is stored in the container's record and its log is complete before the status says EXITED; the task is deleted last,
because until the record is written it is the only place that knows the exit code.

A containerd that cannot write (its disk is full) must not keep a dead container RUNNING for ever: after a few refusals
the status says EXITED, and the writing is tried on, the task kept as witness, until it succeeds.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Exit, ProcessStatus
from api.containerd import errors as containerd_errors
from cri.concurrency.together import together
from cri.container.out_of_memory import was_oom_killed
from cri.container.records import store_status
from cri.container.task_deletion import delete_task
from cri.errors import CriError
from cri.state.changes import ChangeKind
from cri.state.container_status import ContainerStatus, Phase

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.state.container import Container
    from cri.state.records import StatusRecord

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 10.0
"""How long an exit waits for the last of the log; a process left in a shared PID namespace may hold the pipe."""
STORE_ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0


async def record_exit(engine: Engine, container: Container, exit_: Exit) -> None:
    """Bring `container` to EXITED after its process ended. Idempotent; waits for a start that is under way.

    A process that never became the container's concerns it not: when a server is killed in the middle of a start,
    containerd undoes the task a moment later, and the container is as if it had not been tried.
    """
    async with container.lock:
        if container.status.phase is Phase.EXITED or _anothers(container, exit_):
            return
        if container.status.phase is Phase.CREATED:
            log.info("a start that was cut off has been undone", container=container.id)
            await delete_task(engine, container)
            return
        if not exit_.pid:
            confirmed = await _confirmed(engine, container, exit_)
            if confirmed is None:
                return
            exit_ = confirmed
        oom_killed = was_oom_killed(engine, container, exit_.status)
        status = container.status.exited(exit_.status, exit_.at, oom_killed=oom_killed)
        stored = await _settle(engine, container, status)
    engine.supervisor.start(
        f"delete task {container.id[:13]}", delete_when_stored(engine, container, stored=stored)
    )


async def record_loss(engine: Engine, container: Container, finished_at: int, message: str) -> None:
    """Bring `container` to EXITED when its task vanished and nobody can say how it ended."""
    async with container.lock:
        if container.status.phase is not Phase.EXITED:
            await _settle(engine, container, container.status.lost(finished_at, message))
    await delete_task(engine, container)  # its shim may live on without it


async def _settle(engine: Engine, container: Container, status: ContainerStatus) -> bool:
    """Bring the container to its end; the answer is whether its record says so too."""
    _, stored = await together(
        _drain(engine, container), _stored(engine, container, replace(container.stored, status=status))
    )
    engine.stops.end(container.id)
    container.status = status
    container.oom = None
    container.exited.set()
    engine.node.changes.container(ChangeKind.STOPPED, container)
    log.info("container ended", container=container.id, exit_code=status.exit_code, reason=status.reason)
    return stored


async def _stored(engine: Engine, container: Container, stored: StatusRecord) -> bool:
    for attempt in range(STORE_ATTEMPTS):
        try:
            await store_status(engine, container, stored)
        except containerd_errors.ContainerdError as error:
            log.warning(
                "an exit could not be recorded yet", container=container.id, error=str(error), attempt=attempt
            )
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
        else:
            return True
    return False


async def delete_when_stored(engine: Engine, container: Container, *, stored: bool) -> None:
    """Delete the task once the record says how the container ended."""
    if not stored:
        await store_in_the_end(engine, container)
    await delete_task(engine, container)


async def store_in_the_end(engine: Engine, container: Container) -> None:
    """Try to write the status into the record for as long as it takes."""
    pause, stored = FIRST_PAUSE_SECONDS * 2**STORE_ATTEMPTS, False
    while not stored and container.id in engine.node.containers:
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        stored = await _stored(engine, container, container.stored)


async def _drain(engine: Engine, container: Container) -> None:
    try:
        if not await engine.keeper.drained(container.id, DRAIN_SECONDS):
            log.warning("log is still open after the container ended", container=container.id)
        await engine.keeper.release(container.id)
    except CriError as error:  # without a keeper nobody writes, and the exit is no less an exit
        log.error("the end of a log may be missing", container=container.id, error=error.message)


async def _confirmed(engine: Engine, container: Container, exit_: Exit) -> Exit | None:
    """What is true of an exit that names no process; None if the container runs.

    containerd tells so of a shim that it has lost, which may be that of an earlier attempt to start the container.
    """
    try:
        task = await engine.client.tasks.get(container.id)
    except containerd_errors.NotFound:
        return exit_
    if task.status is ProcessStatus.UNKNOWN:
        raise containerd_errors.Unavailable(f"the shim of {container} does not say whether it runs")
    return Exit(task.pid, task.exit_status, task.exited_at) if task.status is ProcessStatus.STOPPED else None


def _anothers(container: Container, exit_: Exit) -> bool:
    """Whether the exit is that of a process before the one that runs now."""
    known = container.status.phase is Phase.RUNNING and container.status.pid and exit_.pid
    return bool(known) and exit_.pid != container.status.pid
