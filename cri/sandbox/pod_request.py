"""What CNI is told of a sandbox. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.network.pod_network import PodRequest, PortMapping
from cri.oci.refusals import bad_value, check_range

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cri.state.records import SandboxRecord

_FIELD = "config.port_mappings"
MOST_PORT = 65_535


def check_port_mappings(mappings: Iterable[criv1.PortMapping]) -> None:
    """Raise InvalidArgument for a mapping that no plugin could make; one without a host port is none (CRI)."""
    for mapping in mappings:
        if mapping.protocol not in criv1.Protocol.values():
            raise bad_value(f"{_FIELD}.protocol", mapping.protocol, "TCP (0), UDP (1) or SCTP (2)")
        check_range(f"{_FIELD}.host_port", mapping.host_port, 0, MOST_PORT)
        if mapping.host_port == 0:
            continue
        check_range(f"{_FIELD}.container_port", mapping.container_port, 1, MOST_PORT)
        if mapping.host_ip and not _is_address(mapping.host_ip):
            raise bad_value(f"{_FIELD}.host_ip", mapping.host_ip, "an IP address")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def pod_request(record: SandboxRecord, network_namespace: Path | None) -> PodRequest:
    """The request for ADD and DEL; `network_namespace` is None for a DEL after the namespace has gone."""
    config = record.config
    return PodRequest(
        sandbox_id=record.id,
        network_namespace=network_namespace,
        name=config.metadata.name,
        namespace=config.metadata.namespace,
        uid=config.metadata.uid,
        annotations=dict(config.annotations),
        labels=dict(config.labels),
        port_mappings=tuple(
            PortMapping(
                container_port=mapping.container_port,
                host_port=mapping.host_port,
                protocol=criv1.Protocol.Name(mapping.protocol).lower(),
                host_ip=mapping.host_ip,
            )
            for mapping in config.port_mappings
            if mapping.host_port > 0
        ),
        dns_servers=tuple(config.dns_config.servers),
        dns_searches=tuple(config.dns_config.searches),
        dns_options=tuple(config.dns_config.options),
        cgroup_parent=config.linux.cgroup_parent,
    )
