"""Addresses that the host-local plugin keeps reserved: one file for each, named by it, with the container's ID inside.

Only for finding what leaked: reservations are made and given back by the plugin.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cri.network.configuration import NetworkList

DATA_DIR = "/var/lib/cni/networks"
"""host-local's default."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """One address that is taken."""

    file: str
    address: str
    container_id: str
    since: int
    """Unix nanoseconds."""


def reservations(networks: Iterable[NetworkList]) -> list[Reservation]:
    """The reservations of all networks whose addresses host-local gives out. Blocking."""
    return [found for network in networks for directory in _directories(network) for found in _in(directory)]


def _directories(network: NetworkList) -> Iterator[Path]:
    for plugin in network.plugins:
        ipam = plugin.document.get("ipam")
        if isinstance(ipam, dict) and ipam.get("type") == "host-local":
            yield Path(str(ipam.get("dataDir") or DATA_DIR), network.name)


def _in(directory: Path) -> Iterator[Reservation]:
    try:
        files = sorted(directory.iterdir())
    except OSError:
        return
    for file in files:
        try:
            address = str(ipaddress.ip_address(file.name.replace("_", ":")))
            lines = file.read_text().split()
            since = file.stat().st_mtime_ns
        except (ValueError, OSError):
            continue  # the lock, the note of the last address, or given back meanwhile
        if lines:
            yield Reservation(str(file), address, lines[0], since)
