"""The listening socket of the stream server, and the address by which clients on this node reach it."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from cri.errors import Unavailable

BACKLOG: Final = 128


def listen(address: str, port: int) -> socket.socket:
    """A non-blocking listening socket. `address` is a host name, an address, or empty for every address.

    Raises Unavailable, saying why, when it cannot be had.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise Unavailable(f"stream_server_address {address!r} cannot be used: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"streams cannot be served at {address or '*'} port {port}: {error.strerror}"
        ) from None
    return listener


def reachable_at(listener: socket.socket) -> tuple[str, int]:
    """The address and port for URLs: those that it listens on, with a wildcard replaced by loopback.

    URLs are for the kubelet, which runs on this node.
    """
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return ("127.0.0.1" if address.version == 4 else "::1"), port
    return host, port
