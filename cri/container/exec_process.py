"""A process that is added to a running container: its FIFOs, its start, its exit, its removal from the shim.

ExecSync and exec sessions differ only in what they do with the streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from typing import TYPE_CHECKING, Self

import structlog

from api.containerd import PROCESS_TYPE_URL, Exit, ProcessStatus, TypedValue
from api.containerd import errors as containerd_errors
from cri.concurrency.supervision import shielded
from cri.container.exec_fifos import exec_directory
from cri.errors import FailedPrecondition
from cri.linux import fifo
from cri.linux.sessions import kill_session
from cri.oci.exec_process import ExecRequest, exec_process
from cri.oci.spec import from_json, to_json
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)

CLEAN_UP_SECONDS = 30.0


class ExecProcess:
    """Make the FIFOs with `fifos`, open their read ends, then enter: what is left is neither process nor FIFO.

    The read ends come before the process, because the shim waits for them, and go after it, because the shim also
    waits until all output has gone into the FIFOs.
    """

    def __init__(self, engine: Engine, container: Container, streams: Sequence[str]) -> None:
        """Raises FailedPrecondition if the container does not run. `streams` of stdin, stdout and stderr get a FIFO."""
        container.require_running("nothing can be executed in it")
        self.id = secrets.token_hex(32)
        self.pid = 0
        """In the host's PID namespace, 0 before the start."""
        self._engine = engine
        self._container = container
        self._streams = streams
        self._directory = exec_directory(engine.paths, container.id, self.id)
        self._exited: asyncio.Future[Exit] | None = None

    def path(self, stream: str) -> Path:
        """The FIFO of a stream."""
        return self._directory / stream

    @contextlib.contextmanager
    def fifos(self) -> Iterator[None]:
        """Make the FIFOs, and remove them at the end.

        On the loop: a handful of calls on a memory file system cost less than a thread.
        """
        self._directory.mkdir(parents=True, mode=0o700)
        try:
            for stream in self._streams:
                fifo.make(self.path(stream))
            yield
        finally:
            for stream in self._streams:
                self.path(stream).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._directory.rmdir()

    async def __aenter__(self) -> Self:
        self._exited = self._engine.exec_exits.expect(self._container.id, self.id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.exec_exits.forget(self._container.id, self.id)
        await shielded(self._remove(), f"clean up exec {self.id[:13]}", CLEAN_UP_SECONDS)

    async def start(self, request: ExecRequest) -> None:
        """Add the process and start it. Raises FailedPrecondition if the container has ended meanwhile."""
        spec = from_json(b'{"process":' + self._container.process + b"}")
        process = TypedValue(PROCESS_TYPE_URL, to_json(exec_process(spec, request)))
        stdin, stdout, stderr = (
            str(self.path(stream)) if stream in self._streams else ""
            for stream in ("stdin", "stdout", "stderr")
        )
        tasks = self._engine.client.tasks
        try:
            await tasks.exec(
                self._container.id,
                self.id,
                process,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                terminal=request.terminal,
            )
            self.pid = await tasks.start(self._container.id, self.id)
        except (containerd_errors.NotFound, containerd_errors.Unknown) as error:
            if not await self._container_lives():
                raise FailedPrecondition(
                    f"{self._container} ended before the command could be started"
                ) from error
            raise

    async def _container_lives(self) -> bool:
        """Asked when a command could not be started: the shim calls many things unknown, an ended init among them."""
        try:
            task = await self._engine.client.tasks.get(self._container.id)
        except containerd_errors.NotFound:
            return False
        return task.status is not ProcessStatus.STOPPED

    async def exit(self) -> Exit:
        """How it ended, once it has; any number of waiters."""
        assert self._exited is not None, "not entered"  # noqa: S101
        return await asyncio.shield(self._exited)

    async def kill(self) -> None:
        """End it and what it started: its children share its session, unless they made one of their own."""
        await self.signal_session(signal.SIGKILL)
        with contextlib.suppress(containerd_errors.ContainerdError):
            await self._engine.client.tasks.kill(self._container.id, signal.SIGKILL, exec_id=self.id)

    async def signal_session(self, number: int) -> None:
        """Send a signal to every process of its session."""
        try:
            members = await self._engine.client.tasks.pids(self._container.id)
        except containerd_errors.ContainerdError as error:
            log.debug("process had ended before the signal", container=self._container.id, error=str(error))
            return
        await asyncio.to_thread(kill_session, self.pid, members, number)

    async def resize(self, width: int, height: int) -> None:
        """Set its terminal's size; a process that has ended has none."""
        try:
            await self._engine.client.tasks.resize(self._container.id, width, height, self.id)
        except containerd_errors.ContainerdError as error:
            log.debug("terminal was not resized", container=self._container.id, error=str(error))

    async def close_stdin(self) -> None:
        """Close the shim's own write end of stdin: end of file, once the others are closed too."""
        try:
            await self._engine.client.tasks.close_io(self._container.id, self.id)
        except containerd_errors.ContainerdError as error:
            log.debug("stdin was not closed", container=self._container.id, error=str(error))

    async def _remove(self) -> None:
        """Remove it from the shim, killing it if its caller left early."""
        tasks = self._engine.client.tasks
        try:
            await ensure_deleted(tasks.delete_process(self._container.id, self.id))
        except containerd_errors.ContainerdError:
            with contextlib.suppress(containerd_errors.ContainerdError):
                await tasks.kill(self._container.id, signal.SIGKILL, exec_id=self.id)
                await tasks.wait(self._container.id, self.id)
                await ensure_deleted(tasks.delete_process(self._container.id, self.id))
