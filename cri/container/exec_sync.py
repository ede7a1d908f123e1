"""ExecSync: run a program in a container, collect its output, answer with its exit code.

kubelet's exec probes end here. A program that outlives the deadline is killed with everything it started, and is gone
before the answer; one that has ended is taken from the shim right after it. Children left in the background do not
hold the answer longer than `drain_exec_sync_io_timeout`. Output beyond 16 MiB a stream is dropped without an error
(CRI).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from cri.container.exec_process import ExecProcess
from cri.container.output import OutputCollector, fitting
from cri.errors import DeadlineExceeded
from cri.observe.stages import stage
from cri.oci.exec_process import ExecRequest

if TYPE_CHECKING:
    from api.containerd import Exit
    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)

STREAMS = ("stdout", "stderr")
KILLED_SECONDS = 10.0


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
    process = ExecProcess(engine, container, STREAMS)
    async with contextlib.AsyncExitStack() as made:
        made.enter_context(process.fifos())
        stdout, stderr = (made.enter_context(OutputCollector(process.path(stream))) for stream in STREAMS)
        await made.enter_async_context(process)
        with stage("exec"):
            await process.start(ExecRequest(tuple(command)))
        with stage("run"):
            exit_ = await _wait(container, process, timeout_seconds)
        with stage("drain"):
            await _drain(engine, stdout, stderr)
        # It has ended and its output is here; what the shim still keeps of it need not hold the answer.
        engine.supervisor.start(f"clean up exec {process.id[:13]}", made.pop_all().aclose())
    return ExecResult(*fitting(stdout.collected, stderr.collected), exit_.status)


async def _wait(container: Container, process: ExecProcess, timeout_seconds: float) -> Exit:
    try:
        return await asyncio.wait_for(process.exit(), timeout_seconds or None)
    except TimeoutError:
        log.info("command ran out of time, killing it", container=container.id, timeout=timeout_seconds)
    await process.kill()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.exit(), KILLED_SECONDS)
    raise DeadlineExceeded(f"command did not end within {timeout_seconds:g} s in {container}; it was killed")


async def _drain(engine: Engine, stdout: OutputCollector, stderr: OutputCollector) -> None:
    """Wait for the end of both streams; a process left in the background may hold them long after."""
    limit = engine.settings.drain_exec_sync_io_timeout or None
    try:
        async with asyncio.timeout(limit):
            await stdout.closed.wait()
            await stderr.closed.wait()
    except TimeoutError:
        log.info("a process left in the background holds the output open, answering without it", limit=limit)
