"""Getting rid of a container's task: what containerd and the shim hold of its process, alive or not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import structlog

from api.containerd import errors as containerd_errors
from cri.errors import Unavailable

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)

DELETE_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.1
END_SECONDS = 10.0
"""How long a killed process may take to end; a busy machine needs a moment."""


async def end_task(engine: Engine, container: Container) -> None:
    """End a task in whatever state it is and delete it. Raises Unavailable if containerd does not delete it."""
    tasks = engine.client.tasks
    container.task_deleted.clear()
    with contextlib.suppress(containerd_errors.ContainerdError):  # there is none, or it has ended
        await tasks.kill(container.id, signal.SIGKILL, everything=True)
        await tasks.wait(container.id, timeout=END_SECONDS)
    await delete_task(engine, container)
    if not container.task_deleted.is_set():
        raise Unavailable(
            f"the task of {container} stays: containerd does not delete it; its log says why, and the call can be "
            "repeated"
        )


async def delete_task(engine: Engine, container: Container) -> None:
    """Remove what containerd still holds of an ended process, so that the snapshot can be unmounted.

    What cannot be deleted is logged, and `task_deleted` stays unset.
    """
    for attempt in range(DELETE_ATTEMPTS):
        try:
            await engine.client.tasks.delete(container.id)
        except containerd_errors.NotFound:
            break
        except containerd_errors.ContainerdError as error:
            log.warning("task could not be deleted, trying again", container=container.id, error=str(error))
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
        else:
            break
    else:
        log.error("task of an ended container stays; removal will try again", container=container.id)
        return
    container.task_deleted.set()
