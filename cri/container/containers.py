"""The container operations as the services call them: identifiers resolved, retries joined, each operation named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cri.concurrency.single_flight import SingleFlight
from cri.container.attach import attach
from cri.container.checkpoint import checkpoint_container
from cri.container.create import check_request, create_container
from cri.container.exec_stream import exec_stream
from cri.container.exec_sync import ExecResult, exec_sync
from cri.container.inheritance import inherited_container, make_room_for_container
from cri.container.remove import remove_container
from cri.container.start import start_container
from cri.container.stop import stop_container
from cri.container.update import update_container
from cri.errors import InvalidArgument
from cri.state.filters import matching_containers
from cri.state.records import container_name
from cri.stream.endpoints import AttachCall, ExecCall

if TYPE_CHECKING:
    from api.wire import criv1
    from cri.container.engine import Engine
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox
    from cri.stream.endpoints import Streams

log = structlog.get_logger(__name__)


class Containers:
    """Container operations by id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._node = engine.node
        self._creations: SingleFlight[Container] = SingleFlight(
            engine.supervisor,
            reap=lambda container: remove_container(engine, container),
            unclaimed_seconds=engine.settings.unclaimed_result_timeout,
        )
        self._node.container_names.on_release(self._creations.claim)

    def get(self, identifier: str) -> Container:
        """The container with this id or unique prefix; a client that names a container has received it.

        Raises NotFound, InvalidArgument.
        """
        container = self._node.containers.get(identifier)
        container.claimed = True
        self._creations.claim(container.record.name)
        return container

    def matching(self, wanted: criv1.ContainerFilter) -> list[Container]:
        """The containers that a filter asks for, in order of creation."""
        return matching_containers(self._node.containers, wanted)

    async def create(self, sandbox_id: str, config: criv1.ContainerConfig) -> str:
        """Create a container and return its id. A retry of the same name joins the attempt under way."""
        check_request(config)
        sandbox = self._node.sandboxes.get(sandbox_id)
        name = container_name(config.metadata, sandbox.config.metadata)
        inherited = inherited_container(self._node, sandbox.id, name, config)
        if inherited is not None:
            log.info("handing over what was made before the restart", container=inherited.id, name=name)
            return inherited.id
        container = await self._creations.run(name, lambda: self._attempt(sandbox, name, config))
        return container.id

    async def _attempt(self, sandbox: Sandbox, name: str, config: criv1.ContainerConfig) -> Container:
        await make_room_for_container(self._engine, name)
        return await create_container(self._engine, sandbox, name, config)

    async def start(self, identifier: str) -> None:
        """Start a created container."""
        await start_container(self._engine, self.get(identifier))

    async def stop(self, identifier: str, grace_seconds: int) -> None:
        """Stop a container; an unknown id is a success (kubelet and critest expect idempotence)."""
        container = self._node.containers.find(identifier)
        if container is not None:
            await stop_container(self._engine, self.get(identifier), grace_seconds)

    async def remove(self, identifier: str) -> None:
        """Remove a container; an unknown id is a success."""
        container = self._node.containers.find(identifier)
        if container is not None:
            await remove_container(self._engine, self.get(identifier))

    async def checkpoint(self, identifier: str, location: str, timeout_seconds: int) -> None:
        """Write the state of a running container to an archive."""
        await checkpoint_container(self._engine, self.get(identifier), location, timeout_seconds)

    async def update(self, identifier: str, resources: criv1.LinuxContainerResources) -> None:
        """Change the limits of a created or running container."""
        await update_container(self._engine, self.get(identifier), resources)

    async def exec_sync(self, identifier: str, command: list[str], timeout_seconds: int) -> ExecResult:
        """Run a command to its end in a running container."""
        if not command:
            raise InvalidArgument("cmd is empty: nothing to execute")
        if timeout_seconds < 0:
            raise InvalidArgument(f"timeout is {timeout_seconds} s; 0 means no limit, less means nothing")
        return await exec_sync(self._engine, self.get(identifier), command, timeout_seconds)

    def exec_call(self, identifier: str, command: tuple[str, ...], streams: Streams) -> ExecCall:
        """What an exec URL for a running container stands for."""
        if not command:
            raise InvalidArgument("cmd is empty: nothing to execute")
        container = self.get(identifier)
        container.require_running("nothing can be executed in it")
        return ExecCall(streams, lambda: exec_stream(self._engine, container, command, streams))

    def attach_call(self, identifier: str, streams: Streams) -> AttachCall:
        """What an attach URL for a running container stands for."""
        container = self.get(identifier)
        container.require_running("nobody can attach to it")
        return AttachCall(streams, lambda: attach(self._engine, container, streams))

    async def reopen_log(self, identifier: str) -> None:
        """Open the container's log anew after its file was renamed. Raises FailedPrecondition if it does not run."""
        container = self.get(identifier)
        container.require_running("its log cannot be reopened")
        await self._engine.keeper.reopen(container.id)
