"""Traffic of a pod's interfaces, from /proc/PID/net/dev: it shows the namespace of the process, without entering it.

A sandbox without a process is measured by a thread that enters its pinned namespace.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from cri.linux.namespaces import inside_network_namespace
from cri.stats.usage import InterfaceUse, NetworkUse

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "lo"
USUAL_DEFAULT = "eth0"
"""What the kubelet expects the pod's own interface to be called."""
_DESTINATION_ANY = b"00000000"


def network_use(process: int) -> NetworkUse | None:
    """The traffic of the namespace that `process` is in, None when the process is gone. Blocking."""
    return _read(f"/proc/{process}/net")


async def pinned_network_use(namespace: Path) -> NetworkUse | None:
    """The traffic of a namespace that is pinned at a path, None when it is gone."""
    try:
        return await inside_network_namespace(namespace, functools.partial(_read, "/proc/thread-self/net"))
    except OSError:
        return None


def parse_interfaces(content: bytes) -> tuple[InterfaceUse, ...]:
    """/proc/net/dev (proc(5)): after two lines of headings one line for each interface."""
    found = []
    for line in content.splitlines()[2:]:
        name, _, counters = line.rpartition(b":")
        interface = name.strip().decode()
        if interface != LOOPBACK:
            received, sent = (part := counters.split())[:4], part[8:12]
            found.append(InterfaceUse(interface, *map(int, received), *map(int, sent)))
    return tuple(found)


def default_interface(interfaces: tuple[InterfaceUse, ...], routes: bytes) -> str:
    """eth0, else the interface of the IPv4 default route, else the first; "" when there is none.

    `routes` is /proc/net/route and only needed where there is no eth0.
    """
    names = [interface.name for interface in interfaces]
    if USUAL_DEFAULT in names:
        return USUAL_DEFAULT
    for line in routes.splitlines()[1:]:
        words = line.split()
        if len(words) > 1 and words[1] == _DESTINATION_ANY and words[0].decode() in names:
            return words[0].decode()
    return names[0] if names else ""


def _read(directory: str) -> NetworkUse | None:
    at = time.time_ns()
    try:
        interfaces = parse_interfaces(_content(f"{directory}/dev"))
        has_usual = any(interface.name == USUAL_DEFAULT for interface in interfaces)
        routes = b"" if has_usual or len(interfaces) < 2 else _content(f"{directory}/route")
    except OSError:
        return None
    return NetworkUse(at, interfaces, default_interface(interfaces, routes))


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
