"""Attaching to a running container: live output from the log keeper, input through the container's stdin FIFO.

The keeper owns the output and hands copies to whoever is attached, dropping what a slow one cannot take, so the log
is never delayed. Input of all that are attached goes into the same FIFO. With `stdin_once`, and without a terminal,
the first client that ends its input ends the container's too; otherwise stdin stays open for the next one, who may
come back to a terminal after the first has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import errors as containerd_errors
from cri.container.fifo_streams import FifoWriter
from cri.container.fifos import stdin_of
from cri.errors import NotFound, Unavailable
from cri.linux import fifo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cri.container.engine import Engine
    from cri.logs.client import Subscription
    from cri.state.container import Container
    from cri.stream.endpoints import OutputName, Streams, TerminalSize

log = structlog.get_logger(__name__)

KEEPER_ATTEMPTS: Final = 5


@contextlib.asynccontextmanager
async def attach(engine: Engine, container: Container, streams: Streams) -> AsyncIterator[AttachedContainer]:
    """Attach until the context is left. Raises FailedPrecondition when the container does not run."""
    container.require_running("nobody can attach to it")
    attached = AttachedContainer(engine, container, await engine.keeper.subscribe(container.id))
    try:
        path = stdin_of(engine, container)
        if streams.stdin and path is not None:
            with contextlib.suppress(OSError):  # the container has ended: its output says so
                attached.stdin = FifoWriter(fifo.open_writer(path))
        yield attached
    finally:
        if attached.stdin is not None:
            attached.stdin.close()
        await attached.subscription.close()


class AttachedContainer:
    """See cri.stream.endpoints.AttachSource."""

    def __init__(self, engine: Engine, container: Container, subscription: Subscription) -> None:
        self.subscription = subscription
        self.stdin: FifoWriter | None = None
        """Open while this client may write."""
        self._engine = engine
        self._container = container

    async def output(self) -> AsyncIterator[tuple[OutputName, bytes]]:
        """Live output until the container ends; goes on with a new log keeper when the old one dies."""
        attempts = 0
        while True:
            try:
                async for name, block in self.subscription:
                    attempts = 0
                    yield name, block
                break
            except Unavailable:
                attempts += 1
                if attempts > KEEPER_ATTEMPTS or not self._container.running:
                    break
                await asyncio.sleep(0.1 * attempts)
                if not await self._subscribe_again():
                    break
        await self._container.exited.wait()

    async def write_stdin(self, block: bytes) -> None:
        """Hand over `block`, waiting while the container does not read."""
        if self.stdin is None:
            raise BrokenPipeError("the container has no stdin")
        await self.stdin.write(block)

    async def end_stdin(self) -> bool:
        """Close the container's stdin if it is made for one client only; then this one waits for the container's end.

        With a stdin that others will use, a client whose input has ended is done, which `kubectl run --stdin
        --leave-stdin-open` and scripts that pipe into `kubectl attach -i` rely on.
        """
        if self.stdin is None:
            return True
        self.stdin.close()
        self.stdin = None
        config = self._container.config
        if not config.stdin_once or config.tty:
            return False
        try:
            await self._engine.client.tasks.close_io(self._container.id)
        except containerd_errors.ContainerdError as error:
            log.debug("stdin was not closed", container=self._container.id, error=str(error))
        return True

    async def resize(self, size: TerminalSize) -> None:
        """Set the terminal's size."""
        if not self._container.config.tty:
            return
        try:
            await self._engine.client.tasks.resize(self._container.id, size.width, size.height)
        except containerd_errors.ContainerdError as error:
            log.debug("terminal was not resized", container=self._container.id, error=str(error))

    async def _subscribe_again(self) -> bool:
        await self.subscription.close()
        try:
            self.subscription = await self._engine.keeper.subscribe(self._container.id)
        except NotFound:
            return False  # not followed any more: it has ended
        except Unavailable:
            pass  # the old one fails again, and counts
        return True
