"""What the rest of the server asks of pod networking: one sandbox, as far as its network goes. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the pod that is to be reachable on the host."""

    container_port: int
    host_port: int = 0
    """0 means that it is not published."""
    protocol: str = "tcp"
    """Lower case: tcp, udp or sctp."""
    host_ip: str = ""
    """Host address to listen on; empty for all."""


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A sandbox, as far as its network goes; the same values are given to attach and detach."""

    sandbox_id: str
    network_namespace: Path | None
    """Where the namespace is mounted; None on detach when it is gone."""
    name: str
    namespace: str
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    port_mappings: tuple[PortMapping, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    cgroup_parent: str = ""
