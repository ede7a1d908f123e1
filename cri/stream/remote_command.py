"""The remote command protocols of Kubernetes, as far as they do not depend on what carries them.

    version                        terminal size   end of the command        end of stdin
    channel.k8s.io (and none)      no              text, only of a failure   with the connection
    v2.channel.k8s.io              no              text, only of a failure   half-close of the SPDY stream
    v3.channel.k8s.io              yes             text, only of a failure   likewise
    v4.channel.k8s.io              yes             JSON status               likewise
    v5.channel.k8s.io (WebSocket)  yes             JSON status               CLOSE message for the channel

Over WebSocket, input before version 5 ends only with the connection, and terminal sizes are always understood.

Five streams exist: stdin and terminal sizes to the server, stdout and stderr to the client, and `error`, on which the
end of the command is told after all output. Over SPDY the client opens a stream for each and the server begins when
the ones that were asked for are there; over WebSocket they are channels that are there from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from cri.stream.endpoints import TerminalSize

Channel = Literal["stdout", "stderr", "error"]
"""What the server sends on."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a version of the protocol can do."""

    name: str
    sizes: bool = True
    json_status: bool = True


V1: Final = Version("channel.k8s.io", sizes=False, json_status=False)
V2: Final = Version("v2.channel.k8s.io", sizes=False, json_status=False)
V3: Final = Version("v3.channel.k8s.io", json_status=False)
V4: Final = Version("v4.channel.k8s.io")
V5: Final = Version("v5.channel.k8s.io")


@dataclass(frozen=True, slots=True)
class Ready:
    """All streams are there: the command may begin."""


@dataclass(frozen=True, slots=True)
class StdinBlock:
    """Input for the command; call `consumed` when the command has it."""

    block: bytes


@dataclass(frozen=True, slots=True)
class StdinEnded:
    """The client's input has ended; everything else goes on."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The client's terminal has another size."""

    size: TerminalSize


@dataclass(frozen=True, slots=True)
class RoomMade:
    """More may be sent than before, see `room`."""


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """The client has ended the connection in good order."""


CommandEvent = Ready | StdinBlock | StdinEnded | Resized | RoomMade | ClientLeft


class RemoteCommandProtocol(Protocol):
    """The server's side of a remote command, on whatever carries it. Bytes in, events out; no I/O."""

    version: Version

    def receive(self, data: bytes) -> list[CommandEvent]:
        """What came of `data`. Raises ProtocolError when the connection cannot go on."""

    def take(self) -> list[bytes]:
        """What is to be sent, in order; each block is given once."""

    def room(self, channel: Channel) -> int:
        """How many bytes may be sent on `channel` now; 0 means wait for RoomMade."""

    def send(self, channel: Channel, block: bytes | memoryview) -> None:
        """Send a block, at most as long as there is room for. Dropped if the client does not want the channel."""

    def end(self, channel: Channel) -> None:
        """Say that nothing follows on `channel`, where the protocol can say that. Idempotent."""

    def consumed(self, count: int) -> None:
        """`count` bytes of input have been passed on."""

    def close(self) -> None:
        """End every channel and then the connection."""
