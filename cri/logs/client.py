"""The server's side of the log keeper: starts it, keeps it alive, tells it which containers to follow.

Requests go over one connection that is made again whenever it is lost, by whoever needs it first: `run`,
which watches, or a request. When the keeper behind it is a new one, everything that should be followed is
told to it before anything else. All requests but `shutdown` are idempotent, so they are sent again on the new
connection and their callers notice nothing but time. Each subscription has a connection of its own, whose
back-pressure is its own.

A keeper of another version of the protocol is left at its work until the containers are known, and then replaced:
nothing but `shutdown` is asked of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final, cast

import structlog

from cri.concurrency.supervision import shielded
from cri.errors import CriError, Unavailable
from cri.logs.calls import Calls, connect
from cri.logs.protocol import REVISION, VERSION
from cri.logs.subscription import Subscription
from cri.logs.values import Followed, PumpCounters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Followed", "LogKeeper", "PumpCounters", "Subscription"]

log = structlog.get_logger(__name__)

START_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 20.0
_BETWEEN_ATTEMPTS_SECONDS: Final = 0.05


class LogKeeper:
    """Client of the one log keeper behind `socket`."""

    def __init__(
        self,
        socket: Path,
        command: Sequence[str],
        on_restart: Callable[[], Awaitable[Sequence[Followed]]],
        settle: Callable[[int], None] | None = None,
    ) -> None:
        """`command` is the keeper program without options (`[sys.executable, "-m", "cri.logs.keeper"]`).

        `on_restart` answers what a keeper that had to be started again must follow: every container whose
        task may still write. It must not call this object. `settle(pid)`, which may block, puts a keeper that has
        been connected to into its place, before it is asked for anything.
        """
        self._socket = str(socket)
        self._command = (*command, "--socket", self._socket, "--detach")
        self._on_restart = on_restart
        self._settle = settle
        self._connection: Calls | None = None
        self._connecting = asyncio.Lock()
        self._instance: object = None
        self._closed = False
        self.restarts = 0
        """How often a new keeper took the place of one that had died or was replaced."""

    @property
    def pid(self) -> int | None:
        """The keeper's process ID, None while there is no connection."""
        return None if self._connection is None or self._connection.lost.is_set() else self._connection.pid

    async def start(self) -> None:
        """Connect, starting the keeper process when its socket does not answer.

        Does not call `on_restart`, whose answer is not known yet: call `resume` when it is. Raises Unavailable.
        """
        await self._connected()

    async def resume(self) -> None:
        """Have everything followed that `on_restart` answers; idempotent.

        Once after `start`, when the containers are known: the keeper may have died together with the server
        before, and then the one that runs now follows nothing. Raises Unavailable.
        """
        connection = await self._understood()
        try:
            await self._follow_all(connection)
        except ConnectionError:  # the next one is told by whoever connects to it
            await self._connected()

    async def run(self) -> None:
        """Watch the connection for ever: reconnect, restart the keeper, follow again (`Supervisor.keep`)."""
        while not self._closed:
            connection = await self._connected()
            await connection.lost.wait()

    async def close(self) -> None:
        """Close the connection and leave the keeper running; requests raise Unavailable from now on."""
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    async def shutdown(self) -> None:
        """End the keeper process, which flushes every log first, and close. Success too when none runs."""
        self._closed = True
        connection = self._connection
        if connection is None or connection.lost.is_set():
            try:
                connection = await connect(self._socket)
            except OSError:
                return
        with contextlib.suppress(ConnectionError):
            await connection.request("shutdown")
        async with asyncio.timeout(REQUEST_SECONDS):
            await connection.lost.wait()
        await connection.close()

    @property
    def outdated(self) -> bool:
        """The keeper that runs is not this program's, or an older one; `replace` brings in a new one."""
        connection = self._connection
        return connection is not None and (connection.version != VERSION or connection.revision < REVISION)

    async def replace(self) -> None:
        """Put a new keeper process in the place of the running one; no byte is lost, subscriptions end.

        Meanwhile containers write into their pipes, requests wait, and the FIFOs are held open here, so that
        even the last words of a container that ends at this moment are kept. Counters begin anew.
        """
        if self._connection is not None:
            await self._replace(self._connection)

    async def follow(self, followed: Followed) -> None:
        """Start following; returns when the read ends are open and the log file exists. Idempotent by id.

        Raises FailedPrecondition with the path when a FIFO or the log file cannot be opened.
        """
        await self._request("follow", followed=followed.wire())

    async def follow_anew(self, followed: Followed) -> None:
        """`follow` for a start: read ends that an earlier attempt's shim has closed, or may still close, are not kept.

        What is in the FIFOs is written; counters begin anew.
        """
        await self._request("follow", followed=followed.wire(), anew=True)

    async def reopen(self, container_id: str) -> None:
        """Open the log path anew after a rotation; no record is lost or doubled.

        Raises NotFound when the container is not followed, FailedPrecondition when the path cannot be opened
        (the old file stays in use and no new file appears).
        """
        await self._request("reopen", container=container_id)

    async def drained(self, container_id: str, timeout_seconds: float) -> bool:
        """Wait until all output is written; False when time ran out.

        Call it once the process has exited: a stream that nobody has open for writing counts as ended then. A
        container that is not followed counts as drained.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._request("drained", container=container_id)
        except TimeoutError:
            return False
        return True

    async def release(self, container_id: str) -> PumpCounters | None:
        """Write what is left in the FIFOs, close everything, forget the container; answers its last figures.

        None when it was not followed (any more).
        """
        answer = cast("dict[str, object] | None", await self._request("release", container=container_id))
        return None if answer is None else _counters(answer)

    async def statistics(self) -> dict[str, PumpCounters]:
        """Counters of every followed container by id."""
        answer = cast("dict[str, dict[str, object]]", await self._request("statistics"))
        return {container: _counters(fields) for container, fields in answer.items()}

    async def counters(self, container_id: str) -> PumpCounters | None:
        """Counters of one container, None when it is not followed."""
        answer = cast(
            "dict[str, dict[str, object]]", await self._request("statistics", container=container_id)
        )
        fields = answer.get(container_id)  # an older keeper tells those of all
        return None if fields is None else _counters(fields)

    async def subscribe(self, container_id: str) -> Subscription:
        """Live output from now on. Raises NotFound when the container is not followed."""
        await self._understood()  # restarts a dead keeper and has it follow again
        return await Subscription.open(self._socket, container_id)

    async def _request(self, verb: str, **fields: object) -> object:
        try:
            async with asyncio.timeout(None if verb == "drained" else REQUEST_SECONDS):
                while True:
                    connection = await self._understood()
                    with contextlib.suppress(ConnectionError):
                        return await connection.request(verb, **fields)
        except TimeoutError:
            raise Unavailable(f"log keeper at {self._socket} did not answer {verb}") from None

    async def _understood(self) -> Calls:
        """The connection to a keeper that speaks our version of the protocol; another one is replaced."""
        while (connection := await self._connected()).version != VERSION:
            log.info("log keeper of another version", theirs=connection.version, ours=VERSION)
            await self._replace(connection)
        return connection

    async def _replace(self, old: Calls) -> None:
        async with self._connecting:
            if self._connection is not old or old.lost.is_set():
                return
            wanted = await self._on_restart()
            with _held(path for one in wanted for path in (one.stdout, one.stderr) if path is not None):
                with contextlib.suppress(ConnectionError):
                    await old.request("shutdown")
                await old.lost.wait()
                self._connection = await self._connect_and_follow()

    async def _connected(self) -> Calls:
        """The connection, made anew if need be; a new keeper has been told what to follow by then."""
        async with self._connecting:
            if self._closed:
                raise Unavailable(f"the connection to the log keeper at {self._socket} is closed")
            if self._connection is None or self._connection.lost.is_set():
                self._connection = await self._connect_and_follow()
            return self._connection

    async def _connect_and_follow(self) -> Calls:
        connection = await self._connect_or_start()
        try:
            if self._settle is not None:
                await asyncio.to_thread(self._settle, connection.pid)
            await self._follow_again(connection)
        except ConnectionError:
            raise Unavailable(f"log keeper at {self._socket} died while it took over") from None
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect_or_start(self) -> Calls:
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    try:
                        return await connect(self._socket)
                    except OSError:
                        await shielded(self._launch(), "start the log keeper", START_SECONDS)
                        with contextlib.suppress(OSError):
                            return await connect(self._socket)
                        # Another keeper is starting or ending at this moment.
                        await asyncio.sleep(_BETWEEN_ATTEMPTS_SECONDS)
        except TimeoutError:
            raise Unavailable(
                f"log keeper does not answer at {self._socket} after {START_SECONDS:g} s; "
                f"see {self._socket}.log for its complaints"
            ) from None

    async def _launch(self) -> None:
        """Start the keeper; it detaches by itself as soon as its socket answers."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"cannot start the log keeper {self._command[0]}: {error.strerror}") from None
        _, complaint = await process.communicate()
        if process.returncode != 0:
            text = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(f"the log keeper ended at once with {process.returncode}: {text}")

    async def _follow_again(self, connection: Calls) -> None:
        if self._instance not in (None, connection.instance) and connection.version == VERSION:
            self.restarts += 1
            log.warning("a new log keeper takes over", pid=connection.pid)
            await self._follow_all(connection)
        self._instance = connection.instance

    async def _follow_all(self, connection: Calls) -> None:
        for followed in await self._on_restart():
            try:
                await connection.request("follow", followed=followed.wire(), again=True)
            except CriError as error:
                log.warning(
                    "container not followed again", container=followed.container_id, error=error.message
                )


@contextlib.contextmanager
def _held(paths: Iterable[Path]) -> Iterator[None]:
    """Keep what is in these FIFOs: the kernel drops it when the last descriptor is closed."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            with contextlib.suppress(OSError):
                stack.callback(os.close, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        yield


def _counters(fields: dict[str, object]) -> PumpCounters:
    known = {name: fields[name] for name in PumpCounters.__dataclass_fields__ if name in fields}
    return PumpCounters(**known)  # type: ignore[arg-type]
