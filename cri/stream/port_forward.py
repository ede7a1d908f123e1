"""Port forwarding, as far as it does not depend on what carries it: connections with a key, each to a port of the pod.

A connection is asked for by the client, dialled by the server, carries bytes both ways with a half-close each way
where the carrier has one, and is finished, or fails alone with a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

PROTOCOL: Final = "portforward.k8s.io"
TUNNEL_PROTOCOL: Final = "SPDY/3.1+portforward.k8s.io"
HIGHEST_PORT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Requested:
    """The client wants a connection: dial the port."""

    key: int
    port: int


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes for the pod; call `consumed` when they are written."""

    key: int
    block: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The client will send no more on this connection."""

    key: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The client wants no more of this connection, in either direction."""

    key: int


@dataclass(frozen=True, slots=True)
class RoomMade:
    """More may be sent than before, see `room`."""


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """The client has ended the session in good order."""


ForwardEvent = Requested | Block | Ended | Dropped | RoomMade | ClientLeft


class PortForwardProtocol(Protocol):
    """The server's side of port forwarding, on whatever carries it. Bytes in, events out; no I/O."""

    half_close: bool
    """Whether the end of one direction can be told while the other goes on."""
    endless: bool
    """Whether the client may ask for further connections; otherwise the session ends with those that there are."""

    def receive(self, data: bytes) -> list[ForwardEvent]:
        """What came of `data`. Raises ProtocolError when the session cannot go on."""

    def take(self) -> list[bytes]:
        """What is to be sent, in order; each block is given once."""

    def room(self, key: int) -> int:
        """How many bytes may be sent on the connection now; 0 means wait for RoomMade."""

    def send(self, key: int, block: bytes | memoryview) -> None:
        """Send bytes from the pod, at most as many as there is room for. Dropped if the client does not want them."""

    def end(self, key: int) -> None:
        """The pod will send no more on this connection. Idempotent."""

    def finish(self, key: int) -> None:
        """The connection is over in both directions. Idempotent."""

    def fail(self, key: int, message: str) -> None:
        """The connection is over, because of what `message` says."""

    def abort(self, key: int) -> None:
        """The connection broke in the pod after it stood. Clients take a message for the end of all connections."""

    def sweep(self) -> None:
        """Give up connections of which only a part has come, and had come at the last sweep too."""

    def consumed(self, key: int, count: int) -> None:
        """`count` bytes for the pod have been written."""

    def close(self) -> None:
        """End the session."""
