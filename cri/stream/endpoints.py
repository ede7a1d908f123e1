"""What the sessions talk to: an exec'd process, a running container, the ports of a pod. Interfaces only.

`cri.container` and `cri.sandbox` implement them on containerd and the kernel, tests implement them in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

OutputName = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """A terminal's size in characters."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams the CRI request asks for. With a terminal there is no stderr."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    terminal: bool = False


class ProcessStreams(Protocol):
    """A process that runs for one exec session."""

    async def write_stdin(self, block: bytes) -> None:
        """Hand over `block`, waiting while the process does not read. Raises BrokenPipeError once nobody will."""

    async def close_stdin(self) -> None:
        """Let the process see end of file after everything written so far. Idempotent."""

    async def read(self, name: OutputName) -> bytes:
        """The next block of an output; empty at its end. While nobody reads, the process waits."""

    async def resize(self, size: TerminalSize) -> None:
        """Set the terminal's size; ignored without a terminal and after the process has ended."""

    async def wait(self) -> int:
        """The exit code, once the process has ended."""

    async def abandon(self) -> None:
        """End the process because its client is gone; returns when it has ended."""


class AttachSource(Protocol):
    """A running container that one client is attached to."""

    def output(self) -> AsyncIterator[tuple[OutputName, bytes]]:
        """Live output from now on, until the container ends. A slow consumer misses output, the log does not."""

    async def write_stdin(self, block: bytes) -> None:
        """Hand over `block`, waiting while the container does not read. Raises BrokenPipeError if it has no stdin."""

    async def end_stdin(self) -> bool:
        """The client has ended its input, or is gone; what that means to the container is its own matter.

        True if the client may stay and watch; False if without input it has no more business here.
        """

    async def resize(self, size: TerminalSize) -> None:
        """Set the terminal's size; ignored without a terminal."""


class PortDialler(Protocol):
    """Opens connections to ports inside a pod."""

    async def dial(self, port: int) -> socket.socket:
        """A connected, non-blocking socket. Raises a CriError that names the port and says what was tried."""


class StartExec(Protocol):
    """Starts the process of an exec session when the client's streams are there."""

    def __call__(self) -> AbstractAsyncContextManager[ProcessStreams]:
        """The running process; leaving the context removes it. Raises a CriError when it cannot be started."""


class StartAttach(Protocol):
    """Attaches to the container when the client's streams are there."""

    def __call__(self) -> AbstractAsyncContextManager[AttachSource]:
        """The attached container; leaving the context detaches. Raises a CriError when it is not running."""


@dataclass(frozen=True, slots=True)
class ExecCall:
    """What an `/exec/TOKEN` URL stands for."""

    streams: Streams
    start: StartExec


@dataclass(frozen=True, slots=True)
class AttachCall:
    """What an `/attach/TOKEN` URL stands for."""

    streams: Streams
    start: StartAttach


@dataclass(frozen=True, slots=True)
class PortForwardCall:
    """What a `/portforward/TOKEN` URL stands for."""

    dialler: PortDialler
    ports: tuple[int, ...] = ()
    """The ports of the request, which only the WebSocket channel form needs."""


Call = ExecCall | AttachCall | PortForwardCall
