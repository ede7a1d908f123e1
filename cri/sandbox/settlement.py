"""What recovery leaves to be done, object by object, while the server serves already.

Each piece of work holds the lock of its object, so an RPC waits for its own object only. Nothing here is fatal: what
fails is logged and left to a later stop, removal or round of the janitor.

The task of what has ended is deleted also when containerd lists none: the caller of Tasks.Delete may have been killed
in mid-call. The shim has deleted the task then, but was not told to end, and only another Tasks.Delete tells it, for
which the record must still be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Exit, Process, ProcessStatus
from api.containerd import errors as containerd_errors
from cri.concurrency.threads import finished_in_thread
from cri.container.exec_fifos import remove_exec_fifos
from cri.container.exit import record_exit, record_loss
from cri.container.fifos import close_output, streams_of
from cri.container.records import store_status
from cri.container.remove import remove_container
from cri.container.task_deletion import delete_task as delete_container_task
from cri.container.task_deletion import end_task
from cri.errors import CriError
from cri.linux.cgroups import OomCounter
from cri.sandbox import network
from cri.sandbox.holders.process import end_process
from cri.sandbox.remove import remove_sandbox
from cri.state.changes import ChangeKind
from cri.state.container_status import Phase
from cri.state.deletion import ensure_deleted
from cri.state.recovery import ALIVE, CUT_OFF

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.container.engine import Engine
    from cri.sandbox.engine import PodEngine
    from cri.state.container import Container
    from cri.state.recovery import RecoveredContainer, RecoveredSandbox
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)

RELEASES_AT_ONCE = 8
"""CNI plugins that run at a time to release addresses after a reboot: each is a process."""
SETTLED_AT_ONCE = 32
"""Containers whose exits are written at a time after a long absence."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Settlement:
    """The work after one recovery."""

    def __init__(self, pods: PodEngine) -> None:
        self._pods = pods
        self._engine = pods.engine
        self._releases = asyncio.Semaphore(RELEASES_AT_ONCE)
        self._settled = asyncio.Semaphore(SETTLED_AT_ONCE)

    def begin_sandbox(self, sandbox: Sandbox, found: RecoveredSandbox) -> None:
        """Start what there is to do for a sandbox."""
        start, short = self._engine.supervisor.start, sandbox.id[:13]
        if found.half_made:
            start(f"undo half-made sandbox {short}", self._undo_sandbox(sandbox))
        elif found.unanswered:
            start(f"ask for sandbox {short}", self._ask_for_sandbox(sandbox))
        elif found.stale_task:
            start(f"delete sandbox task {short}", end_process(self._engine, sandbox))
        if found.address_held and not found.half_made:
            start(f"release addresses of {short}", self._release(sandbox))

    def begin_container(
        self, container: Container, found: RecoveredContainer, abandoned_execs: Iterable[str]
    ) -> None:
        """Start what there is to do for a container."""
        start, short = self._engine.supervisor.start, container.id[:13]
        if found.half_made:
            start(f"undo half-made container {short}", self._undo_container(container))
        elif found.unanswered:
            start(f"ask for container {short}", self._ask_for_container(container))
        elif found.changed or found.stale_task or container.status.phase is Phase.EXITED:
            start(f"settle {short}", self._settle(container, found))
        for exec_id in abandoned_execs:
            start(f"end abandoned exec {exec_id[:13]}", end_abandoned_exec(self._engine, container, exec_id))

    async def _undo_sandbox(self, sandbox: Sandbox) -> None:
        log.info("undoing a half-made sandbox", sandbox=sandbox.id, name=sandbox.record.name)
        try:
            await remove_sandbox(self._pods, sandbox)
        except (CriError, containerd_errors.ContainerdError, OSError) as error:
            log.warning(
                "half-made sandbox stays, not ready, until it is removed",
                sandbox=sandbox.id,
                error=str(error),
            )

    async def _undo_container(self, container: Container) -> None:
        log.info("undoing a half-made container", container=container.id, name=container.record.name)
        try:
            await remove_container(self._engine, container)
        except (CriError, containerd_errors.ContainerdError, OSError) as error:
            log.warning(
                "half-made container stays until it is removed", container=container.id, error=str(error)
            )

    async def _release(self, sandbox: Sandbox) -> None:
        """CNI DEL without a namespace, which went with the boot; should it fail, StopPodSandbox tries again."""
        async with self._releases, sandbox.lock:
            try:
                await network.detach(self._pods, sandbox)
            except CriError as error:
                log.warning("addresses could not be released yet", sandbox=sandbox.id, error=error.message)

    async def _settle(self, container: Container, found: RecoveredContainer) -> None:
        """Write what was learnt into the record before the task, its only other witness, is deleted."""
        engine = self._engine
        async with self._settled, container.lock:
            if found.changed:
                await store_status(engine, container, container.stored)
            if not found.stale_task:
                await delete_container_task(engine, container)
                return
            task = await _task_of(engine, container.id)
            if task is None or task.status is ProcessStatus.STOPPED:
                await self._save_output(container)
                await delete_container_task(engine, container)
            else:
                await self._end(container)

    async def _end(self, container: Container) -> None:
        await self._follow(container)
        await end_task(self._engine, container)
        await close_output(self._engine, container)

    async def _follow(self, container: Container) -> None:
        """Have its output read: a shim that is still making the process waits for a reader, and answers nobody.

        Before that process has run, nothing has been written, and a shim of an earlier attempt may have brought the
        streams to their end.
        """
        keeper = self._engine.keeper
        follow = keeper.follow_anew if container.status.phase is Phase.CREATED else keeper.follow
        with contextlib.suppress(CriError):  # the FIFOs went with the boot
            await follow(streams_of(self._engine, container))

    async def _save_output(self, container: Container) -> None:
        """Have the log keeper write what an ended container left in its FIFOs; it may have died, too."""
        keeper = self._engine.keeper
        await self._follow(container)
        with contextlib.suppress(CriError):
            await keeper.drained(container.id, 1.0)
        await keeper.release(container.id)

    async def _ask_for_container(self, container: Container) -> None:
        """Ask a shim that hung until it answers, then believe it."""
        await self._follow(container)
        task = await self._answer_of(container.id)
        if container.status.phase is Phase.EXITED or container.id not in self._engine.node.containers:
            return
        if task is None:
            await record_loss(
                self._engine, container, time.time_ns(), "containerd holds no task for the container any more"
            )
        elif task.status is ProcessStatus.STOPPED:
            await record_exit(self._engine, container, Exit(task.pid, task.exit_status, task.exited_at))
        elif task.status is ProcessStatus.CREATED:
            await self._cut_off(container)
        elif task.status in ALIVE:
            async with container.lock:
                if container.status.phase is Phase.CREATED:
                    container.status = container.status.starting().running(task.pid, time.time_ns())
                container.status = replace(container.status, pid=task.pid)
                container.oom = OomCounter.of(task.pid)

    async def _cut_off(self, container: Container) -> None:
        """Its start did not get to the end, and nobody will come back for the task."""
        async with container.lock:
            if container.status.phase is Phase.EXITED:
                return
            begun = replace(container.status, phase=Phase.STARTING, started_at=0)
            container.status = begun.start_failed(time.time_ns(), CUT_OFF)
            container.exited.set()
            self._engine.node.changes.container(ChangeKind.STOPPED, container)
            await store_status(self._engine, container, container.stored)
            await self._end(container)

    async def _ask_for_sandbox(self, sandbox: Sandbox) -> None:
        task = await self._answer_of(sandbox.id)
        if sandbox.id not in self._engine.node.sandboxes or not sandbox.ready:
            return
        if task is not None and task.status in ALIVE:
            sandbox.pid = task.pid
            return
        self._engine.node.sandbox_ended(sandbox)
        async with sandbox.lock:
            await end_process(self._engine, sandbox)

    async def _answer_of(self, identifier: str) -> Process | None:
        """What the shim says in the end; None when containerd has no such task any more."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                task = await _task_of(self._engine, identifier)
            except containerd_errors.ContainerdError as error:
                log.warning("a shim does not answer", container=identifier, error=str(error))
                continue
            if task is None or task.status is not ProcessStatus.UNKNOWN:
                return task
            log.warning("a shim does not answer", container=identifier)


async def end_abandoned_exec(engine: Engine, container: Container, exec_id: str) -> None:
    """End a process that an earlier server executed in a container: its caller went with that server."""
    tasks = engine.client.tasks
    with contextlib.suppress(containerd_errors.ContainerdError):
        await tasks.kill(container.id, signal.SIGKILL, exec_id=exec_id)
        await tasks.wait(container.id, exec_id, timeout=10)
    with contextlib.suppress(containerd_errors.ContainerdError):
        await ensure_deleted(tasks.delete_process(container.id, exec_id))
    await finished_in_thread(remove_exec_fifos, engine.paths, container.id, exec_id)


async def _task_of(engine: Engine, identifier: str) -> Process | None:
    try:
        return await engine.client.tasks.get(identifier)
    except containerd_errors.NotFound:
        return None
