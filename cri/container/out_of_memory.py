"""Whether a container was ended for want of memory: what kubelet shows as OOMKilled.

The kernel counts its kills in the container's cgroup, and containerd tells of them. Either may come too late: systemd
takes a container's scope away, counter included, as soon as its last process is gone, and containerd's word may
arrive after that of the exit. So the cgroup above, which on version 2 has counted the kill as well, is asked where
the container's is gone, and a word that comes late still changes the reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from cri.container.records import store_status
from cri.state.container_status import REASON_ERROR, REASON_OOM_KILLED, SIGKILL_EXIT_CODE, Phase

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)


def was_oom_killed(engine: Engine, container: Container, exit_status: int) -> bool:
    """Whether the kernel's memory limit ended it. A child's OOM kill does not make a normal end one."""
    if exit_status != SIGKILL_EXIT_CODE:
        return False
    if container.oom_seen or container.oom is None:
        return container.oom_seen
    kills = container.oom.kills()
    if kills is not None:
        return kills > 0
    return container.oom.kills_above() > 0 and not _another_was_killed(engine, container)


async def record_oom_kill(engine: Engine, container: Container) -> None:
    """Take in containerd's word of a kill that comes after that of the exit, or while that is being recorded."""
    async with container.lock:
        status = container.status
        if (status.phase, status.exit_code, status.reason) != (Phase.EXITED, SIGKILL_EXIT_CODE, REASON_ERROR):
            return
        container.status = replace(status, reason=REASON_OOM_KILLED)
        log.info("the container was out of memory, as is learnt now", container=container.id)
        await store_status(engine, container, container.stored)


def _another_was_killed(engine: Engine, container: Container) -> bool:
    """Whether a kill that the cgroup above has counted may have been that of another container there."""
    parent = _cgroup_parent(engine, container)
    return any(
        _killed_since(other, container.status.started_at)
        for other in engine.node.containers
        if other is not container and _cgroup_parent(engine, other) == parent
    )


def _killed_since(container: Container, moment: int) -> bool:
    status = container.status
    if status.phase is Phase.EXITED:
        return status.reason == REASON_OOM_KILLED and status.finished_at >= moment
    return bool(container.oom and container.oom.kills())


def _cgroup_parent(engine: Engine, container: Container) -> str:
    sandbox = engine.node.sandboxes.find(container.record.sandbox_id)
    return sandbox.config.linux.cgroup_parent if sandbox else ""
