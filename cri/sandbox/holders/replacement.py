"""A process in the place of mounts: for a sandbox that is to be left to containerd's CRI plugin, which knows no other.

The process joins the pinned namespaces, so nothing changes for the containers. The record says "held by mounts" until
the process runs: when this is cut off, it is done anew, or the server ends the task that it finds in the way.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from api.wire import criv1
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.undo import UndoStack
from cri.linux.mounts import unmount
from cri.linux.namespaces import unpin
from cri.sandbox.holders.process import HeldByProcess, end_process
from cri.state.pins import NO_PINS, PINS_EXTENSION

if TYPE_CHECKING:
    from cri.sandbox.engine import PodEngine
    from cri.state.paths import NodePaths
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


async def give_process(pods: PodEngine, sandbox: Sandbox) -> None:
    """Start a sandbox container in the namespaces of a ready sandbox, and let go of the pins that it makes needless.

    Raises CriError, ContainerdError; then the sandbox is as it was.
    """
    engine, client = pods.engine, pods.engine.client
    handler = engine.handlers.get_or_default(sandbox.record.runtime_handler)
    labels = engine.selinux.container_labels(criv1.ContainerConfig(), handler, sandbox.record.process_label)
    holder = HeldByProcess(pods)
    described = await holder.describe(sandbox, handler, labels)
    await _clear_earlier_attempt(pods, holder, sandbox)
    await client.containers.update(described, "spec", "image", "snapshotkey")
    async with UndoStack(f"process of {sandbox}") as undo:
        await holder.hold(sandbox, handler, undo)
        update = ContainerdContainer(id=sandbox.id, extensions={PINS_EXTENSION: NO_PINS})
        await client.containers.update(update, f"extensions.{PINS_EXTENSION}")
    sandbox.record = replace(sandbox.record, pins=None)
    await finished_in_thread(_release_pins, engine.paths, sandbox.id)
    log.info("a process holds the sandbox now", sandbox=sandbox.id, pid=sandbox.pid)


async def _clear_earlier_attempt(pods: PodEngine, holder: HeldByProcess, sandbox: Sandbox) -> None:
    with contextlib.suppress(containerd_errors.NotFound):
        await pods.engine.client.tasks.get(sandbox.id)
        await end_process(pods.engine, sandbox)
    await holder.forget(sandbox)


def _release_pins(paths: NodePaths, sandbox_id: str) -> None:
    """The user namespace's stays, as it does for every sandbox that a process holds."""
    unmount(paths.sysfs(sandbox_id))
    for pin in (paths.ipc_namespace, paths.uts_namespace):
        unpin(pin(sandbox_id))
