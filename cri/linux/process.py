"""Processes: the one gateway that executes programs, and what /proc and pidfds say about running ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.concurrency.supervision import shielded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# After the program itself has ended: how long its pipes may stay open because a child of it inherited them.
_LINGER_SECONDS = 1.0
_REAP_SECONDS = 5.0
_START_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. `status` is the exit status, or minus the signal that killed it."""

    status: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False
    """Output beyond the limit was dropped."""


async def execute(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout_seconds: float,
    output_limit: int = 1024 * 1024,
) -> Finished:
    """Run a program to its end in a session of its own; `env` None means this process's environment.

    Each stream keeps its first `output_limit` bytes. When time runs out or the caller is cancelled, the whole
    process group is killed and reaped before TimeoutError (naming the program) or the cancellation is raised.
    Children that outlive the program do not hold up the result. Raises FileNotFoundError or PermissionError
    when the program cannot be started.
    """
    program = _Program(output_limit)
    try:
        with _input(stdin) as source:
            # Not to be cancelled half-way: asyncio would then kill the program alone, without its group.
            await shielded(program.start(argv, env, source), f"start {argv[0]}", _START_SECONDS)
        async with asyncio.timeout(timeout_seconds):
            await program.exited.wait()
        await _wait_at_most(program.closed, _LINGER_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"{argv[0]} did not end within {timeout_seconds:g} s and was killed") from None
    finally:
        await program.put_down()
    return program.finished()


@contextlib.contextmanager
def _input(content: bytes) -> Iterator[int]:
    """A descriptor to read `content` from.

    A file in memory, not asyncio's pipe: that is a socket on 3.11, and a shell script's `cat /dev/stdin`,
    usual in CNI plugins, cannot open a socket. Nothing has to be fed to it while the program runs, either.
    """
    descriptor = os.memfd_create("stdin")
    with os.fdopen(descriptor, "w+b") as file:
        file.write(content)
        file.seek(0)
        yield descriptor


class _Program(asyncio.SubprocessProtocol):
    """A running program. What it prints beyond the limit is read and dropped, or it would block."""

    def __init__(self, limit: int) -> None:
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self._limit = limit
        self._kept = {1: bytearray(), 2: bytearray()}
        self._truncated = False
        self._transport: asyncio.SubprocessTransport | None = None

    async def start(self, argv: Sequence[str], env: Mapping[str, str] | None, stdin: int) -> None:
        """Execute it in a session, hence a process group, of its own."""
        self._transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *argv,
            env=None if env is None else dict(env),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def put_down(self) -> None:
        """Kill what still runs of the group and reap it; let go of pipes that its children may hold."""
        if self._transport is None:
            return
        if self._transport.get_returncode() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)
            await shielded(_wait_at_most(self.exited, _REAP_SECONDS), "reap", _REAP_SECONDS + 1)
        self._transport.close()

    def finished(self) -> Finished:
        """The result, once it has ended."""
        assert self._transport is not None  # noqa: S101 - started, or start had raised
        status = self._transport.get_returncode()
        assert status is not None  # noqa: S101 - it has exited
        return Finished(status, bytes(self._kept[1]), bytes(self._kept[2]), self._truncated)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Part of asyncio.SubprocessProtocol."""
        kept = self._kept[fd]
        room = self._limit - len(kept)
        kept += data[:room]
        self._truncated = self._truncated or len(data) > room

    def process_exited(self) -> None:
        """Part of asyncio.SubprocessProtocol."""
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.SubprocessProtocol: the program has ended and all its pipes are closed."""
        self.closed.set()


async def _wait_at_most(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def boot_time_ns() -> int:
    """Wall-clock time of the boot in nanoseconds since the epoch."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def start_time_ns(pid: int) -> int | None:
    """Wall-clock start of a process in nanoseconds since the epoch (10 ms grain), None when it is gone."""
    fields = _stat_fields(pid)
    return None if fields is None else boot_time_ns() + int(fields[19]) * (1_000_000_000 // _TICKS)


def start_ticks(pid: int) -> int | None:
    """Start in clock ticks since boot: with the pid and the boot ID it names a process for ever."""
    fields = _stat_fields(pid)
    return None if fields is None else int(fields[19])


def parent(pid: int) -> int | None:
    """The parent's pid, None when the process is gone."""
    fields = _stat_fields(pid)
    return None if fields is None else int(fields[1])


def state(pid: int) -> str | None:
    """The one-letter state of proc(5) (R, S, D, Z, T, …), None when the process is gone."""
    fields = _stat_fields(pid)
    return None if fields is None else fields[0]


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on; the name before it may hold spaces and parentheses."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def processes() -> Iterator[tuple[int, list[str]]]:
    """Every process with its command line; kernel threads and zombies, which have none, are left out."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (command := command_line(int(name))):
            yield int(name), command


def command_line(pid: int) -> list[str]:
    """The words of a process's command line; empty for kernel threads, zombies and processes that are gone."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().removesuffix("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return words if words[0] else []


def unix_sockets(pid: int) -> frozenset[str]:
    """Paths of the Unix sockets that a process has open, listening ones among them."""
    try:
        opened = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
    except OSError:  # the process, or a descriptor, has just gone
        return frozenset()
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:
        rows = [line.rstrip("\n").split(None, 7) for line in table]
    return frozenset(row[7] for row in rows if len(row) == 8 and f"socket:[{row[6]}]" in opened)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that stays with this process even when its pid is used again; None when it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def send_signal(pidfd: int, number: int) -> bool:
    """Signal the process behind a pidfd; False when it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


async def exited(pid: int, timeout_seconds: float) -> bool:
    """Wait for the end of any process, child or not; False when time ran out."""
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return True
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(pidfd, _resolve, ended)
        async with asyncio.timeout(timeout_seconds):
            await ended
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return True


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
