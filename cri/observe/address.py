"""Addresses that something listens on: "host:port", "[v6]:port" or "unix:///path". Pure."""

from __future__ import annotations

from cri.errors import InvalidArgument

UNIX_PREFIX = "unix://"
HIGHEST_PORT = 65535


def split_host_port(address: str) -> tuple[str, int]:
    """Split "host:port" or "[v6]:port". Raises InvalidArgument naming the address."""
    host, separator, port = address.rpartition(":")
    if (
        not separator
        or not port.isdecimal()
        or int(port) > 65535
        or (":" in host and not host.startswith("["))
    ):
        raise InvalidArgument(f'address "{address}" is not HOST:PORT, [IPV6]:PORT or unix:///PATH')
    return host.removeprefix("[").removesuffix("]"), int(port)
