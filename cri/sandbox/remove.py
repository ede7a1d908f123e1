"""RemovePodSandbox: forcibly stop, remove the containers, then everything of the sandbox itself; the record last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import all_of
from cri.container.image_volumes import remove_image_volumes
from cri.container.remove import remove_cgroup, remove_container
from cri.observe.stages import stage
from cri.sandbox.files import remove_files
from cri.sandbox.holders.choice import holder_of
from cri.sandbox.stop import stop_locked
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from cri.sandbox.engine import PodEngine
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


async def remove_sandbox(pods: PodEngine, sandbox: Sandbox) -> None:
    """Remove the sandbox and its containers. Idempotent, also when called twice at once."""
    engine = pods.engine
    async with sandbox.lock:
        if sandbox.id not in engine.node.sandboxes:
            return
        sandbox.removing = True
        try:
            await stop_locked(pods, sandbox)
            with stage("containers"):
                containers = engine.node.containers_of(sandbox.id)
                await all_of([remove_container(engine, container) for container in containers])
            with stage("snapshot"):
                await remove_image_volumes(engine, sandbox)
                await holder_of(pods, sandbox).forget(sandbox)
            await remove_cgroup(engine, sandbox, sandbox.id)
            await finished_in_thread(remove_files, engine.paths, sandbox.id)
            with stage("record"):
                await ensure_deleted(engine.client.containers.delete(sandbox.id))
        finally:
            sandbox.removing = False
        engine.node.remove_sandbox(sandbox)
    log.info("sandbox removed", sandbox=sandbox.id)
