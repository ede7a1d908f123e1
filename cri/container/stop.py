"""StopContainer: the stop signal, a grace period, SIGKILL, and the exit observed.

Returns only when the status says EXITED (kubelet relies on it). The schedule of signals belongs to a supervised task,
so a caller that goes away leaves the container dying as ordered; a later call joins the stop under way and may shorten
its grace.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import structlog

from api.containerd import Exit, ProcessStatus
from api.containerd import errors as containerd_errors
from cri.concurrency.finishing import finished
from cri.container.exit import record_exit, record_loss
from cri.container.signals import signal_number
from cri.errors import DeadlineExceeded
from cri.linux.sessions import describe
from cri.observe.stages import stage
from cri.state.container_status import Phase

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.container.stop_schedule import StopSchedule
    from cri.state.container import Container

log = structlog.get_logger(__name__)

KILL_WAIT_SECONDS = 60.0
"""How long a killed process may take to vanish before the caller is told that it is stuck."""
KILL_AGAIN_SECONDS = 5.0
"""Pause between kills: a containerd that was away, or a process that was just forking, gets another one."""


async def stop_container(engine: Engine, container: Container, grace_seconds: float) -> None:
    """Stop `container`; a container that is not running is a success. `grace_seconds` 0 kills at once.

    Raises DeadlineExceeded, describing the process, when it outlives SIGKILL.
    """
    if container.status.phase is Phase.STARTING:
        async with container.lock:  # the start decides first what there is to stop
            pass
    if container.status.phase not in (Phase.RUNNING, Phase.UNKNOWN):
        return
    kill_at = asyncio.get_running_loop().time() + max(grace_seconds, 0)
    schedule = engine.stops.get(container.id)
    if schedule is not None:
        schedule.shorten(kill_at)
    else:
        # To its end even if the caller leaves: a signal that was sent without a kill to follow would be half a stop.
        schedule = await finished(_begin(engine, container, kill_at, grace_seconds))
    with stage("exit"):
        await _observe_exit(container, schedule)


async def _begin(engine: Engine, container: Container, kill_at: float, grace_seconds: float) -> StopSchedule:
    """Send the stop signal, if there is time for it to be heeded, and arrange for the kill."""
    schedule = engine.stops.begin(container.id, kill_at)
    try:
        if grace_seconds > 0:
            await _send(engine, container, signal_number(container.record.stop_signal))
    except BaseException:
        engine.stops.end(container.id)  # not sent, as far as is known: the next call begins anew
        raise
    engine.supervisor.start(f"kill {container.id[:13]}", _kill_when_due(engine, container, schedule))
    return schedule


async def _kill_when_due(engine: Engine, container: Container, schedule: StopSchedule) -> None:
    """SIGKILL when the grace is over, again and again until the container has ended or is being given up on."""
    while not await schedule.ended_in_time(container.exited):
        log.info("killing the container", container=container.id)
        try:
            await _send(engine, container, signal.SIGKILL)
        except containerd_errors.ContainerdError as error:
            log.warning(
                "container could not be killed, trying again", container=container.id, error=str(error)
            )
        schedule.postpone(asyncio.get_running_loop().time() + KILL_AGAIN_SECONDS)


async def _send(engine: Engine, container: Container, number: int) -> None:
    try:
        await engine.client.tasks.kill(container.id, number, everything=number == signal.SIGKILL)
    except containerd_errors.NotFound:
        log.debug("process had ended before the signal", container=container.id, signal=number)
        await _record_unseen_end(engine, container)


async def _record_unseen_end(engine: Engine, container: Container) -> None:
    """The event may be under way, or was missed: what containerd says now is as good."""
    try:
        task = await engine.client.tasks.get(container.id)
    except containerd_errors.NotFound:
        message = "containerd holds no task for the container any more; how it ended is unknown"
        await record_loss(engine, container, time.time_ns(), message)
        return
    if task.status is ProcessStatus.STOPPED:
        await record_exit(engine, container, Exit(task.pid, task.exit_status, task.exited_at))


async def _observe_exit(container: Container, schedule: StopSchedule) -> None:
    """Wait for the exit through the grace and, after the kill, as long as a healthy kernel needs."""
    if await schedule.ended_in_time(container.exited):
        return
    try:
        await asyncio.wait_for(container.exited.wait(), KILL_WAIT_SECONDS)
    except TimeoutError:
        raise DeadlineExceeded(
            f"{container} was sent SIGKILL {KILL_WAIT_SECONDS:.0f} s ago and is still there: "
            f"{describe(container.status.pid)}; a process in state D waits for a disk, network file system or device"
        ) from None
