"""One attachment: a sandbox on one network, with everything that DEL will need. Pure.

The document form is that of libcni's cache files, so `cnitool`, containerd and this server can each undo what
another did. It is stored twice: as a cache file, before the first plugin runs (without a result), and in the
sandbox record afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cri.network.documents import JsonObject


@dataclass(frozen=True, slots=True)
class Attachment:
    """The arguments of one ADD through a network list and, once it succeeded, its final result."""

    network: str
    """The network's name."""
    container_id: str
    """The sandbox ID, which is CNI's container ID."""
    interface: str
    """Name inside the pod: eth0, eth1, …"""
    config: bytes
    """The network list as ADD used it (the file may have changed since)."""
    network_namespace: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    """CNI_ARGS pairs in order."""
    capabilities: JsonObject = field(default_factory=dict)
    """Capability arguments of this sandbox, before filtering by what each plugin declares."""
    result: JsonObject | None = None
    """The last plugin's result as it printed it; None until ADD went through the whole list."""
