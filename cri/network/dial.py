"""Connections to ports inside a pod, for port-forwarding: loopback of the pod's network namespace, IPv4 then IPv6.

A socket belongs for ever to the namespace in which it was made. So only that happens in there, in a thread of its own;
connecting is done from the event loop like any other.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

from cri.errors import FailedPrecondition
from cri.linux.namespaces import inside_network_namespace

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_SECONDS: Final = 30.0
PLACES: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def dial_loopback(network_namespace: Path | None, port: int) -> socket.socket:
    """A connected, non-blocking socket to `port`; None stands for the host's own namespace.

    Raises FailedPrecondition naming what was tried when the port does not answer or the namespace is gone.
    """
    failures: list[str] = []
    for family, address in PLACES:
        try:
            return await _connect(network_namespace, family, (address, port))
        except (OSError, TimeoutError) as error:
            failures.append(f"{address}: {os.strerror(error.errno) if error.errno else 'no answer'}")
    raise FailedPrecondition(f"port {port} of the pod cannot be reached ({', '.join(failures)})")


async def _connect(
    network_namespace: Path | None, family: socket.AddressFamily, place: tuple[str, int]
) -> socket.socket:
    made: list[socket.socket] = []

    def make() -> None:
        made.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))

    try:
        if network_namespace is None:
            make()
        else:
            await inside_network_namespace(network_namespace, make)
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(made[0], place)
    except BaseException:
        for each in made:
            each.close()
        raise
    made[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made[0]
