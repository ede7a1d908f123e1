"""Fake processes: a task's init process and its execs, which write to real FIFOs and die when told.

A process is CREATED, RUNNING, STOPPED. What it does meanwhile is its script. Its PID is above every real one, so
nothing that is done to it by number can hit a real process.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from api.wire.containerd import process_pb2
from cri.concurrency.supervision import Supervisor
from tests.double.fifos import open_output, open_stdin, read_chunks, write_all
from tests.double.refusals import failed_precondition, not_found, unknown
from tests.double.scripts import Script
from tests.double.state import now

FIRST_PID = 5_000_000
HARMLESS = frozenset({0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})
"""Signals that end no process by default."""


@dataclass(frozen=True, slots=True)
class Streams:
    """Where a process's standard streams lead, as the client named them."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class FakeProcess:
    """One process; tests hold it to see and steer what happens inside of the container."""

    def __init__(
        self,
        container_id: str,
        exec_id: str,
        streams: Streams,
        script: Script,
        process: dict[str, Any],
        on_exit: Callable[[FakeProcess], None],
    ) -> None:
        """`process` is the OCI process (args, env, ...) that the client asked for."""
        self.container_id = container_id
        self.exec_id = exec_id
        self.streams = streams
        self.script = script
        self.process = process
        self.pid = 0
        self.status: process_pb2.Status.ValueType = process_pb2.CREATED
        self.exit_status = 0
        self.exited_at = 0
        self.exited = asyncio.Event()
        self.signals: list[int] = []
        """Signals that were sent to it, also those that it ignored."""
        self.received = bytearray()
        """What it read from stdin."""
        self.size: tuple[int, int] | None = None
        """Terminal width and height as last set."""
        self._on_exit = on_exit
        self._outputs: dict[str, int] = {}
        self._stdin_reader: int | None = None
        self._stdin_writer: int | None = None
        self._life: asyncio.Task[None] | None = None

    @property
    def args(self) -> list[str]:
        """The command line."""
        return list(self.process.get("args", []))

    async def open_streams(self) -> None:
        """Open all that the client named; UNKNOWN when something is missing."""
        if not self.streams.terminal and bool(self.streams.stdout) != bool(self.streams.stderr):
            raise unknown("failed to start io pipe copy: containerd-shim: opening file")
        try:
            for name, path in (("stdout", self.streams.stdout), ("stderr", self.streams.stderr)):
                if self.streams.terminal and name == "stderr":
                    continue
                fd = await open_output(path)
                if fd is not None:
                    self._outputs[name] = fd
            ends = open_stdin(self.streams.stdin)
        except BaseException as error:
            self.close_output()
            if isinstance(error, (OSError, TimeoutError)):
                raise unknown(f"failed to start io pipe copy: {error}") from None
            raise
        if ends is not None:
            self._stdin_reader, self._stdin_writer = ends

    def start(self, supervisor: Supervisor) -> None:
        """Run the script from here on."""
        if self.status != process_pb2.CREATED:
            name = process_pb2.Status.Name(self.status).lower()
            raise unknown(f"cannot start a {name} process")
        self.status = process_pb2.RUNNING
        self._life = supervisor.start(f"fake process {self.container_id} {self.exec_id}", self._live())

    async def write(self, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """Write more output now; with a terminal both go to stdout."""
        for name, data in (("stdout", stdout), ("stderr", stderr)):
            fd = self._outputs.get("stdout" if self.streams.terminal else name)
            if fd is not None and data:
                await write_all(fd, data)

    def kill(self, number: int) -> None:
        """Take a signal as the kernel would deliver it. NOT_FOUND when the process has ended."""
        if self.status == process_pb2.STOPPED:
            raise not_found("process already finished")
        if self.exec_id and self.pid == 0:
            raise failed_precondition("process not created")
        self.signals.append(number)
        if number in HARMLESS or (number in self.script.ignores and number != signal.SIGKILL):
            return
        code = self.script.exit_codes.get(number, 128 + number)
        asyncio.get_running_loop().call_soon(self.exit, 137 if number == signal.SIGKILL else code)

    def exit(self, code: int) -> None:
        """End now with this exit status; a second end is ignored."""
        if self.status == process_pb2.STOPPED:
            return
        self.status = process_pb2.STOPPED
        self.exit_status, self.exited_at = code, now()
        if self._life is not None and self._life is not asyncio.current_task():
            self._life.cancel()
        if not self.script.keeps_output_open:
            self.close_output()
        self._close_stdin_reader()
        self.exited.set()
        self._on_exit(self)

    def close_output(self) -> None:
        """Close stdout and stderr, so that their readers see the end of file."""
        for fd in self._outputs.values():
            os.close(fd)
        self._outputs.clear()

    def close_stdin(self) -> None:
        """Close the shim's own write end (CloseIO)."""
        if self._stdin_writer is not None:
            os.close(self._stdin_writer)
            self._stdin_writer = None

    def release(self) -> None:
        """Close whatever is open; for deletion and the end of the double."""
        if self._life is not None:
            self._life.cancel()
        self.close_output()
        self.close_stdin()
        self._close_stdin_reader()

    async def _live(self) -> None:
        await self.write(self.script.stdout, self.script.stderr)
        if self.script.stdin != "ignore" and self._stdin_reader is not None:
            async for chunk in read_chunks(self._stdin_reader):
                self.received += chunk
                if self.script.stdin == "echo":
                    await self.write(chunk)
        if self.script.exit_code is not None:
            self.exit(self.script.exit_code)

    def _close_stdin_reader(self) -> None:
        if self._stdin_reader is not None:
            os.close(self._stdin_reader)
            self._stdin_reader = None


@dataclass(slots=True)
class Task:
    """A container's running side."""

    init: FakeProcess
    bundle: str
    execs: dict[str, FakeProcess] = field(default_factory=dict)
    paused: bool = False
    resources: dict[str, Any] | None = None
    """The OCI resources of the last Update."""

    def process(self, exec_id: str) -> FakeProcess:
        """The init process for "", else the exec; NOT_FOUND."""
        if not exec_id:
            return self.init
        process = self.execs.get(exec_id)
        if process is None:
            raise not_found(f"process does not exist {exec_id}")
        return process

    def release(self) -> None:
        """Close all streams."""
        for process in (self.init, *self.execs.values()):
            process.release()
