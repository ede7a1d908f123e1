"""The sandbox operations as the services call them: identifiers resolved, retries joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cri.concurrency.single_flight import SingleFlight
from cri.sandbox.inheritance import inherited_sandbox, make_room_for_sandbox
from cri.sandbox.remove import remove_sandbox
from cri.sandbox.resources import update_sandbox_resources
from cri.sandbox.run import check_request, run_sandbox
from cri.sandbox.stop import stop_sandbox
from cri.state.filters import matching_sandboxes
from cri.state.records import sandbox_name

if TYPE_CHECKING:
    from api.wire import criv1
    from cri.sandbox.engine import PodEngine
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


class Sandboxes:
    """Sandbox operations by id."""

    def __init__(self, pods: PodEngine) -> None:
        self._pods = pods
        self._node = pods.engine.node
        self._runs: SingleFlight[Sandbox] = SingleFlight(
            pods.engine.supervisor,
            reap=self._reap,
            unclaimed_seconds=pods.engine.settings.unclaimed_result_timeout,
        )
        self._node.sandbox_names.on_release(self._runs.claim)

    def get(self, identifier: str) -> Sandbox:
        """The sandbox with this id or unique prefix; a client that names a sandbox has received it.

        Raises NotFound, InvalidArgument.
        """
        sandbox = self._node.sandboxes.get(identifier)
        sandbox.claimed = True
        self._runs.claim(sandbox.record.name)
        return sandbox

    def matching(self, wanted: criv1.PodSandboxFilter) -> list[Sandbox]:
        """The sandboxes that a filter asks for, in order of creation."""
        return matching_sandboxes(self._node.sandboxes, wanted)

    async def run(self, config: criv1.PodSandboxConfig, handler: str) -> str:
        """Run a sandbox and return its id. A retry of the same name joins the attempt under way."""
        check_request(config)
        self._pods.engine.handlers.get(handler)
        name = sandbox_name(config.metadata)
        inherited = inherited_sandbox(self._node, name, config, handler)
        if inherited is not None:
            log.info("handing over what was made before the restart", sandbox=inherited.id, name=name)
            return inherited.id
        sandbox = await self._runs.run(name, lambda: self._attempt(name, config, handler))
        return sandbox.id

    async def _attempt(self, name: str, config: criv1.PodSandboxConfig, handler: str) -> Sandbox:
        await make_room_for_sandbox(self._pods, name)
        return await run_sandbox(self._pods, name, config, handler)

    async def _reap(self, sandbox: Sandbox) -> None:
        """Remove a sandbox that nobody came for; one with containers has been found by somebody, in a list."""
        if not self._node.containers_of(sandbox.id):
            await remove_sandbox(self._pods, sandbox)

    async def stop(self, identifier: str) -> None:
        """Stop a sandbox; an unknown id is a success."""
        if self._node.sandboxes.find(identifier) is not None:
            await stop_sandbox(self._pods, self.get(identifier))

    async def remove(self, identifier: str) -> None:
        """Remove a sandbox and its containers; an unknown id is a success."""
        if self._node.sandboxes.find(identifier) is not None:
            await remove_sandbox(self._pods, self.get(identifier))

    async def update_resources(self, request: criv1.UpdatePodSandboxResourcesRequest) -> None:
        """Change the limits of a ready sandbox."""
        await update_sandbox_resources(self._pods, self.get(request.pod_sandbox_id), request)
