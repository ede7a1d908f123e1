"""Follows containerd: process exits, out-of-memory kills, images, and what was missed while the stream was down.

containerd replays nothing. So after every (re)connection, once the subscription counts, the tasks are listed and
compared with the index: whatever ended unseen is recorded from the list.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from api.containerd import Event, Exit, Process, ProcessStatus
from api.containerd import errors as containerd_errors
from api.wire.containerd import event_types_pb2 as events
from api.wire.containerd import images_pb2
from cri.concurrency.together import first_cause, together
from cri.container.exit import record_exit, record_loss
from cri.container.out_of_memory import record_oom_kill
from cri.errors import Unavailable
from cri.observe.stages import operation
from cri.sandbox.holders.mounts import is_intact
from cri.sandbox.holders.process import delete_task
from cri.sandbox.pod_cidrs import restore_pod_cidrs
from cri.sandbox.recovery import rebuild
from cri.sandbox.tasks import current_tasks
from cri.state.container_status import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from cri.sandbox.engine import PodEngine
    from cri.state.container import Container
    from cri.state.recovery import Recovery
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)

TOPICS = ("/tasks/exit", "/tasks/oom", "/images/create", "/images/update", "/images/delete")
RECORD_ATTEMPTS = 8
PROBE_PAUSE_SECONDS = 5.0
PROBE_SECONDS = 10.0
"""How long containerd may take to say its version before it counts as hanging."""


class Observer:
    """One per server; `run` is kept alive by the supervisor and reconnects by being called again."""

    def __init__(self, pods: PodEngine) -> None:
        self._pods = pods
        self._engine = pods.engine
        self.problem = ""
        """Why events do not flow, empty while they do or before the first attempt."""
        self.recovery: Recovery | None = None
        """What the start found in containerd."""
        self.connected = asyncio.Event()
        """Set while events flow, which is what RuntimeReady means."""
        self.recovered = asyncio.Event()
        """Set once the index has been rebuilt from containerd."""

    def check_recovered(self) -> None:
        """Raise Unavailable while nothing is known of the node's pods yet."""
        if not self.recovered.is_set():
            raise Unavailable(
                f"containerd at {self._engine.client.address} does not answer, "
                f"the node's pods are not known yet{f' ({self.problem})' if self.problem else ''}"
            )

    async def run(self) -> None:
        """Follow events until the stream breaks, or until containerd does not answer any more."""
        namespace = self._engine.client.namespace
        filters = [f'namespace=={namespace},topic=="{topic}"' for topic in TOPICS]
        try:
            async with self._engine.client.events.subscribe(*filters) as subscription:
                if not self.recovered.is_set():
                    with operation("Recover"):
                        await self._recover()
                else:
                    with operation("Reconcile"):
                        await self._reconcile()
                self.problem = ""
                self.connected.set()
                async with asyncio.TaskGroup() as group:
                    probing = group.create_task(self._probe(), name="probe containerd")
                    async for event in subscription:
                        self._take(event)
                    probing.cancel()
        except Exception as error:
            self.problem = str(first_cause(error))
            raise
        finally:
            self.connected.clear()

    async def _probe(self) -> None:
        """Look now and then at what sends no events: a daemon that hangs, a mount that somebody undoes."""
        while True:
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
            await self._engine.client.version.get(timeout=PROBE_SECONDS)
            await self._check_pins()

    async def _check_pins(self) -> None:
        """A pod whose namespaces are not pinned any more is not ready: kubelet makes a new one."""
        held = [each for each in self._engine.node.sandboxes if each.ready and each.record.pins is not None]
        lost = await asyncio.to_thread(lambda: [each for each in held if not is_intact(each.record)])
        for sandbox in lost:
            if sandbox.ready:
                log.error("namespaces of a sandbox are not pinned any more", sandbox=sandbox.id)
                self._engine.node.sandbox_ended(sandbox)

    def _take(self, event: Event) -> None:
        """An event that cannot be handled costs no other event."""
        try:
            self._handle(event)
        except Exception:
            log.exception("event could not be handled", topic=event.topic)

    def _handle(self, event: Event) -> None:
        message = event.message
        if isinstance(message, events.TaskExit):
            self._task_exit(message)
        elif isinstance(message, events.TaskOOM):
            container = self._engine.node.containers.find(message.container_id)
            if container is not None:
                container.oom_seen = True
                self._start(f"oom {container.id[:13]}", record_oom_kill(self._engine, container))
        elif isinstance(message, images_pb2.ImageCreate | images_pb2.ImageUpdate | images_pb2.ImageDelete):
            self._start(
                f"image {message.name}", self._engine.images.on_image_event(event.topic, message.name)
            )

    def _task_exit(self, message: events.TaskExit) -> None:
        exit_ = Exit(message.pid, message.exit_status, message.exited_at.ToNanoseconds())
        if message.id != message.container_id:
            self._engine.exec_exits.ended(message.container_id, message.id, exit_)
            return
        node = self._engine.node
        if message.container_id in node.containers:
            self._container_exit(node.containers.get(message.container_id), exit_)
        elif message.container_id in node.sandboxes:
            sandbox = node.sandboxes.get(message.container_id)
            if sandbox.record.pins is None:  # else it was what a hand-back had left
                self.sandbox_ended(sandbox)
        elif message.container_id in node.forming:
            node.forming[message.container_id].ended.set()

    def _container_exit(self, container: Container, exit_: Exit) -> None:
        self._start(
            f"exit {container.id[:13]}", _persistently(lambda: record_exit(self._engine, container, exit_))
        )

    def sandbox_ended(self, sandbox: Sandbox) -> None:
        """The sandbox's process is gone: the pod is not ready any more, and kubelet will stop it."""
        if sandbox.ready:
            log.info("sandbox process ended", sandbox=sandbox.id)
        self._engine.node.sandbox_ended(sandbox)
        if not sandbox.lock.locked():  # a stop under way deletes the task itself
            self._start(f"delete sandbox task {sandbox.id[:13]}", delete_task(self._engine, sandbox))

    async def _recover(self) -> None:
        """Build the index, with the subscription already counting, so that nothing is missed in between."""
        _, self.recovery, _ = await together(
            self._engine.images.load(), rebuild(self._pods), restore_pod_cidrs(self._pods)
        )
        self.recovered.set()

    async def _reconcile(self) -> None:
        """Compare containerd's tasks and images with the index."""
        _, tasks = await together(self._engine.images.load(), current_tasks(self._engine.client))
        for container in self._engine.node.containers:
            if container.status.phase in (Phase.RUNNING, Phase.STARTING):
                self._compare(container, tasks.get(container.id))
        for sandbox in (*self._engine.node.sandboxes, *self._engine.node.forming.values()):
            if sandbox.record.pins is None:
                self._compare_sandbox(sandbox, tasks.get(sandbox.id))
        await self._check_pins()
        for container_id, exec_id in self._engine.exec_exits.pending:
            self._start(f"ask for exec {exec_id[:13]}", self._ask_exec(container_id, exec_id))

    def _compare(self, container: Container, task: Process | None) -> None:
        if task is None and container.running:
            lost = _persistently(lambda: self._lost_unless_ended(container))
            self._start(f"lost {container.id[:13]}", lost)
        elif task is None:
            pass  # its start is on the way to it
        elif task.status is ProcessStatus.STOPPED:
            self._container_exit(container, Exit(task.pid, task.exit_status, task.exited_at))

    async def _lost_unless_ended(self, container: Container) -> None:
        """The list may be older than the task, so containerd is asked once more."""
        try:
            task = await self._engine.client.tasks.get(container.id)
        except containerd_errors.NotFound:
            if container.status.phase is Phase.RUNNING:
                message = "containerd holds no task for the container any more; how it ended is unknown"
                await record_loss(self._engine, container, time.time_ns(), message)
            return
        if task.status is ProcessStatus.STOPPED:
            await record_exit(self._engine, container, Exit(task.pid, task.exit_status, task.exited_at))

    def _compare_sandbox(self, sandbox: Sandbox, task: Process | None) -> None:
        stopped = task is not None and task.status is ProcessStatus.STOPPED
        if sandbox.id in self._engine.node.forming:
            if stopped:
                sandbox.ended.set()
        elif sandbox.ready and stopped:
            self.sandbox_ended(sandbox)
        elif sandbox.ready and task is None:
            self._start(f"lost {sandbox.id[:13]}", _persistently(lambda: self._sandbox_lost(sandbox)))

    async def _sandbox_lost(self, sandbox: Sandbox) -> None:
        try:
            await self._engine.client.tasks.get(sandbox.id)
        except containerd_errors.NotFound:
            if sandbox.ready:
                self.sandbox_ended(sandbox)

    async def _ask_exec(self, container_id: str, exec_id: str) -> None:
        try:
            process = await self._engine.client.tasks.get(container_id, exec_id)
        except containerd_errors.NotFound:
            self._engine.exec_exits.ended(container_id, exec_id, Exit(0, 255, time.time_ns()))
            return
        except containerd_errors.ContainerdError as error:
            log.warning("what became of a command is not known", exec=exec_id, error=str(error))
            return
        if process.status is ProcessStatus.STOPPED:
            exit_ = Exit(process.pid, process.exit_status, process.exited_at)
            self._engine.exec_exits.ended(container_id, exec_id, exit_)

    def _start(self, name: str, work: Coroutine[object, object, None]) -> None:
        self._engine.supervisor.start(name, work)


async def _persistently(work: Callable[[], Awaitable[None]]) -> None:
    """An exit that was reported must be recorded: try again while containerd refuses."""
    for attempt in range(RECORD_ATTEMPTS):
        try:
            return await work()
        except containerd_errors.ContainerdError as error:
            log.warning("an exit could not be recorded yet", error=str(error), attempt=attempt)
            await asyncio.sleep(0.1 * 2**attempt)
    return await work()
