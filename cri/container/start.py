"""StartContainer: from a record and a snapshot to a running process whose output is followed.

    FIFOs ──> log keeper reads them ──┐
    snapshot mounts ──────────────────┴─> Tasks.Create ──> mark ──> Tasks.Start ∥ status "running" into the record

The log keeper must hold the read ends before Tasks.Create, or the shim's open of them never returns. A start that fails
leaves the container EXITED with code 128 and reason StartError; kubelet then restarts it by its policy.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Mount, TypedValue
from api.containerd import errors as containerd_errors
from api.wire import criv1
from cri.concurrency.supervision import shielded
from cri.concurrency.together import together
from cri.container.exit import store_in_the_end
from cri.container.fifos import close_output, open_output, stdin_of, streams_of
from cri.container.id_mapping import root_mounts, task_options
from cri.container.pod_shim import met_its_end, only_task_creation
from cri.container.records import store_status
from cri.container.start_marks import mark_start
from cri.container.task_deletion import end_task
from cri.errors import CriError, FailedPrecondition
from cri.linux.cgroups import OomCounter
from cri.observe.stages import stage
from cri.state.changes import ChangeKind
from cri.state.container_status import CRI_STATES, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cri.container.engine import Engine
    from cri.logs.client import Followed
    from cri.state.container import Container

log = structlog.get_logger(__name__)

CREATE_ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.05
BUNDLE_IN_THE_WAY = "file exists"
"""containerd's words (those of mkdir(2)) while it still removes the bundle of an attempt that was broken off."""
SETTLE_SECONDS = 60.0
"""How long a failed start may take to undo itself before its caller is answered."""
SETTLE_AGAIN_SECONDS = 5.0


async def start_container(engine: Engine, container: Container) -> None:
    """Start a CREATED container. Raises FailedPrecondition in any other state, or if its sandbox is not ready."""
    async with container.lock:
        _check_startable(engine, container)
        container.status = container.status.starting()
        try:
            await _start(engine, container)
        except BaseException as error:
            await _fail(engine, container, error)
            raise


def _check_startable(engine: Engine, container: Container) -> None:
    if container.removing:
        raise FailedPrecondition(f"{container} is being removed")
    if container.status.phase is not Phase.CREATED:
        state = criv1.ContainerState.Name(CRI_STATES[container.status.phase])
        raise FailedPrecondition(f"{container} is in state {state}; only a created container can be started")
    sandbox = engine.node.sandboxes.get(container.record.sandbox_id)
    if not sandbox.ready:
        raise FailedPrecondition(
            f"{sandbox} of {container} is not ready; kubelet makes a new sandbox for the pod"
        )


async def _start(engine: Engine, container: Container) -> None:
    sandbox = engine.node.sandboxes.get(container.record.sandbox_id)
    handler = engine.handlers.get(sandbox.record.runtime_handler)
    followed = streams_of(engine, container)
    stdin = stdin_of(engine, container)
    with stage("io"):
        mounts, _ = await together(
            engine.client.snapshots(container.snapshotter).mounts(container.id),
            open_output(engine, followed, stdin),
        )
    options = task_options(handler, sandbox.config)
    async with only_task_creation(engine, sandbox):
        with stage("task-create"):
            container.task_deleted.clear()
            async with root_mounts(engine.paths, sandbox, handler, container.id, mounts) as root:
                pid = await _create_task_anew(engine, container, followed, stdin, root, options)
            container.oom = OomCounter.of(pid)
    running = container.status.running(pid, time.time_ns())
    mark_start(engine.paths, container.id)  # on the loop: less work than a thread
    with stage("task-start"):
        await together(
            engine.client.tasks.start(container.id),
            store_status(engine, container, replace(container.stored, status=running)),
        )
    container.status = running
    engine.node.changes.container(ChangeKind.STARTED, container)
    log.info("container started", container=container.id, pid=pid)


async def _create_task_anew(
    engine: Engine,
    container: Container,
    followed: Followed,
    stdin: Path | None,
    mounts: Sequence[Mount],
    options: TypedValue | None,
) -> int:
    """Create the task; remains of an attempt that a killed server, or a killed containerd, has left give way first."""
    sandbox = engine.node.sandboxes.get(container.record.sandbox_id)
    for attempt in range(CREATE_ATTEMPTS):
        try:
            return await _create_task(engine, container, followed, stdin, mounts, options)
        except containerd_errors.ContainerdError as error:
            if _in_the_way(error):
                log.warning("removing an earlier task first", container=container.id, error=str(error))
                await end_task(engine, container)
                container.task_deleted.clear()
                await open_output(engine, followed, stdin)
            elif met_its_end(sandbox, error):
                log.info("the pod's shim was just ending", container=container.id, error=str(error))
            else:
                raise
        await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    return await _create_task(engine, container, followed, stdin, mounts, options)


def _in_the_way(error: containerd_errors.ContainerdError) -> bool:
    bundle = isinstance(error, containerd_errors.Unknown) and BUNDLE_IN_THE_WAY in str(error)
    return bundle or isinstance(error, containerd_errors.AlreadyExists)


async def _create_task(
    engine: Engine,
    container: Container,
    followed: Followed,
    stdin: Path | None,
    mounts: Sequence[Mount],
    options: TypedValue | None,
) -> int:
    return await engine.client.tasks.create(
        container.id,
        mounts=mounts,
        stdin=str(stdin or ""),
        stdout=str(followed.stdout),
        stderr=str(followed.stderr or ""),
        terminal=followed.terminal,
        options=options,
    )


async def _fail(engine: Engine, container: Container, error: BaseException) -> None:
    """Undo what the start did and leave the container EXITED with the reason that kubelet shows."""
    message = failure_message(error)
    log.warning("container could not be started", container=container.id, error=message)
    container.status = container.status.start_failed(time.time_ns(), message)
    container.oom = None

    async def settle() -> None:
        # Side by side: an end that cannot be stored must not keep the process alive.
        await together(store_status(engine, container, container.stored), _end(engine, container))

    try:
        await shielded(settle(), f"settle failed start {container.id[:13]}", SETTLE_SECONDS)
    except (CriError, containerd_errors.ContainerdError, TimeoutError) as failure:
        log.warning("failed start left something", container=container.id, error=str(failure))
        engine.supervisor.start(f"settle {container.id[:13]}", _settle_in_the_end(engine, container))
    finally:
        container.exited.set()
        engine.node.changes.container(ChangeKind.STOPPED, container)


async def _end(engine: Engine, container: Container) -> None:
    """End what there is of the process, and only then the log.

    A shim that is still making the process waits for a reader of its output, and with it all calls for the pod.
    """
    await end_task(engine, container)
    await close_output(engine, container)


async def _settle_in_the_end(engine: Engine, container: Container) -> None:
    """Store the failure and end the process for as long as it takes, or until somebody removes the container."""
    await store_in_the_end(engine, container)
    while container.id in engine.node.containers:
        try:
            await _end(engine, container)
        except CriError as error:
            log.warning("what a failed start left stays for now", container=container.id, error=error.message)
            await asyncio.sleep(SETTLE_AGAIN_SECONDS)
        else:
            return


def failure_message(error: BaseException) -> str:
    """What went wrong, for the status' message."""
    return str(error) or type(error).__name__
