"""ExecSync: run a program in a container, collect its output, answer with its exit code.

kubelet's exec probes end here. A program that outlives the deadline is killed with everything it started, and is gone
before the answer; children left in the background do not hold the answer longer than
`drain_exec_sync_io_timeout`. Output beyond 16 MiB a stream is dropped without an error (CRI).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from api.containerd import PROCESS_TYPE_URL, Exit, TypedValue
from api.containerd import errors as containerd_errors
from cri.concurrency.supervision import shielded
from cri.container.output import OutputCollector, fitting
from cri.errors import DeadlineExceeded, FailedPrecondition
from cri.linux import fifo
from cri.linux.sessions import kill_session
from cri.observe.stages import stage
from cri.oci.exec_process import ExecRequest, exec_process
from cri.oci.spec import from_json, to_json
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)

CLEAN_UP_SECONDS = 30.0
KILLED_DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a program wrote, and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


async def exec_sync(
    engine: Engine, container: Container, command: list[str], timeout_seconds: float
) -> ExecResult:
    """Run `command`; `timeout_seconds` 0 means no limit.

    Raises FailedPrecondition if the container does not run, DeadlineExceeded when time runs out.
    """
    container.require_running("nothing can be executed in it")
    exec_id = secrets.token_hex(32)
    directory = engine.paths.container_state(container.id) / "exec" / exec_id
    async with _streams(directory) as (stdout, stderr):
        exited = engine.exec_exits.expect(container.id, exec_id)
        try:
            with stage("exec"):
                pid = await _begin(engine, container, exec_id, command, directory)
            with stage("run"):
                exit_ = await _wait(engine, container, exec_id, pid, exited, timeout_seconds)
            with stage("drain"):
                await _drain(engine, stdout, stderr)
        finally:
            engine.exec_exits.forget(container.id, exec_id)
            await shielded(
                _clean_up(engine, container, exec_id), f"clean up exec {exec_id[:13]}", CLEAN_UP_SECONDS
            )
        return ExecResult(*fitting(stdout.collected, stderr.collected), exit_.status)


async def _begin(
    engine: Engine, container: Container, exec_id: str, command: list[str], directory: Path
) -> int:
    spec = from_json(b'{"process":' + container.process + b"}")
    process = TypedValue(PROCESS_TYPE_URL, to_json(exec_process(spec, ExecRequest(tuple(command)))))
    try:
        await engine.client.tasks.exec(
            container.id, exec_id, process, stdout=str(directory / "stdout"), stderr=str(directory / "stderr")
        )
        return await engine.client.tasks.start(container.id, exec_id)
    except containerd_errors.NotFound as error:
        raise FailedPrecondition(f"{container} ended before the command could be started") from error


async def _wait(
    engine: Engine,
    container: Container,
    exec_id: str,
    pid: int,
    exited: asyncio.Future[Exit],
    timeout_seconds: float,
) -> Exit:
    try:
        return await asyncio.wait_for(asyncio.shield(exited), timeout_seconds or None)
    except TimeoutError:
        log.info("command ran out of time, killing it", container=container.id, timeout=timeout_seconds)
    await _kill(engine, container, exec_id, pid)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(exited), KILLED_DRAIN_SECONDS * 10)
    raise DeadlineExceeded(f"command did not end within {timeout_seconds:g} s in {container}; it was killed")


async def _kill(engine: Engine, container: Container, exec_id: str, pid: int) -> None:
    """End the program and what it started: its children share its session, unless they made one of their own."""
    try:
        members = await engine.client.tasks.pids(container.id)
        await asyncio.to_thread(kill_session, pid, members)
        await engine.client.tasks.kill(container.id, signal.SIGKILL, exec_id=exec_id)
    except containerd_errors.ContainerdError as error:
        log.debug("program had ended before it was killed", container=container.id, error=str(error))


async def _drain(engine: Engine, stdout: OutputCollector, stderr: OutputCollector) -> None:
    """Wait for the end of both streams; a process left in the background may hold them long after."""
    limit = engine.settings.drain_exec_sync_io_timeout or None
    try:
        async with asyncio.timeout(limit):
            await stdout.closed.wait()
            await stderr.closed.wait()
    except TimeoutError:
        log.info("a process left in the background holds the output open, answering without it", limit=limit)


async def _clean_up(engine: Engine, container: Container, exec_id: str) -> None:
    """Remove the process from the shim, killing it if the caller left early."""
    try:
        await ensure_deleted(engine.client.tasks.delete_process(container.id, exec_id))
    except containerd_errors.ContainerdError:
        with contextlib.suppress(containerd_errors.ContainerdError):
            await engine.client.tasks.kill(container.id, signal.SIGKILL, exec_id=exec_id)
            await engine.client.tasks.wait(container.id, exec_id)
            await ensure_deleted(engine.client.tasks.delete_process(container.id, exec_id))


@contextlib.asynccontextmanager
async def _streams(directory: Path) -> AsyncIterator[tuple[OutputCollector, OutputCollector]]:
    """Make the two FIFOs, read them, and leave nothing."""
    names = ("stdout", "stderr")
    _make_fifos(directory, names)
    try:
        with OutputCollector(directory / "stdout") as stdout, OutputCollector(directory / "stderr") as stderr:
            yield stdout, stderr
    finally:
        _remove_fifos(directory, names)


def _make_fifos(directory: Path, names: Sequence[str]) -> None:
    """On the loop: a handful of calls on a memory file system take less than handing them to a thread."""
    directory.mkdir(parents=True, mode=0o700)
    for name in names:
        fifo.make(directory / name)


def _remove_fifos(directory: Path, names: Sequence[str]) -> None:
    for name in names:
        (directory / name).unlink(missing_ok=True)
    directory.rmdir()
