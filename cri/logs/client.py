"""The server's side of the log keeper: starts it, keeps it alive, tells it which containers to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from cri.logs.values import Followed, PumpCounters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

__all__ = ["Followed", "LogKeeper", "PumpCounters", "Subscription"]

Stream = Literal["stdout", "stderr"]


class Subscription:
    """Live output of one container: iterate to get `(stream, bytes)` until the container's output ends.

    A subscriber that reads too slowly misses bytes (`skipped` counts them); it never delays the log.
    Raises Unavailable while iterating when the keeper dies.
    """

    skipped: int

    def __aiter__(self) -> AsyncIterator[tuple[Stream, bytes]]:
        raise NotImplementedError

    async def close(self) -> None:
        """Stop the delivery; idempotent."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class LogKeeper:
    """Client of the one log keeper behind `socket`.

    `command` is the program without its options (for example `[sys.executable, "-m", "cri.logs.keeper"]`).
    `on_restart` answers what to follow whenever the connection is new: after the keeper was started again.
    """

    def __init__(
        self, socket: Path, command: Sequence[str], on_restart: Callable[[], Awaitable[Sequence[Followed]]]
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Connect, starting the keeper process when its socket does not answer. Raises Unavailable."""
        raise NotImplementedError

    async def run(self) -> None:
        """Watch the connection for ever: reconnect, restart the keeper, follow again (`Supervisor.keep`)."""
        raise NotImplementedError

    async def close(self) -> None:
        """Leave the keeper running and close the connection."""
        raise NotImplementedError

    async def shutdown(self) -> None:
        """End the keeper process: it flushes every log first."""
        raise NotImplementedError

    async def follow(self, followed: Followed) -> None:
        """Start following; returns when the read ends are open and the log file exists. Idempotent by id.

        Raises FailedPrecondition with the path when a FIFO or the log file cannot be opened.
        """
        raise NotImplementedError

    async def reopen(self, container_id: str) -> None:
        """Open the log path anew after a rotation; no record is lost or doubled.

        Raises NotFound when the container is not followed, FailedPrecondition when the path cannot be opened
        (the old file stays in use and no new file appears).
        """
        raise NotImplementedError

    async def drained(self, container_id: str, timeout_seconds: float) -> bool:
        """Wait until all output is written; call it after the process has exited. False when time ran out.

        A container that is not followed counts as drained.
        """
        raise NotImplementedError

    async def release(self, container_id: str) -> None:
        """Write what is left in the FIFOs, close everything, forget the container. Idempotent."""
        raise NotImplementedError

    async def statistics(self) -> dict[str, PumpCounters]:
        """Counters of every followed container by id."""
        raise NotImplementedError

    async def subscribe(self, container_id: str) -> Subscription:
        """Live output from now on. Raises NotFound when the container is not followed."""
        raise NotImplementedError
