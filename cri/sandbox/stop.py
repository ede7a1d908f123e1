"""StopPodSandbox: containers killed at once, then what holds its namespaces and its network, side by side.

Idempotent, and a success also when the network namespace has gone with a reboot. The sandbox counts as stopped (and its
addresses disappear) as soon as nothing holds it; a CNI DEL that fails is an error, so that kubelet calls again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import all_of
from cri.container.stop import stop_container
from cri.observe.stages import stage
from cri.sandbox import network
from cri.sandbox.files import release_mounts
from cri.sandbox.holders.choice import holder_of

if TYPE_CHECKING:
    from cri.sandbox.engine import PodEngine
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


async def stop_sandbox(pods: PodEngine, sandbox: Sandbox) -> None:
    """Stop everything in the sandbox and release its network."""
    async with sandbox.lock:
        await stop_locked(pods, sandbox)


async def stop_locked(pods: PodEngine, sandbox: Sandbox) -> None:
    """The same, for callers that hold the sandbox's lock."""
    engine = pods.engine
    with stage("containers"):
        await all_of(
            [stop_container(engine, container, 0) for container in engine.node.containers_of(sandbox.id)]
        )
    await all_of([_let_go(pods, sandbox), network.detach(pods, sandbox)])
    await finished_in_thread(release_mounts, engine.paths, sandbox.id)
    log.info("sandbox stopped", sandbox=sandbox.id)


async def _let_go(pods: PodEngine, sandbox: Sandbox) -> None:
    with stage("holder"):
        await holder_of(pods, sandbox).let_go(sandbox)
        pods.engine.node.sandbox_ended(sandbox)
