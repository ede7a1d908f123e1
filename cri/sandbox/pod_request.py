"""What CNI is told of a sandbox. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.network.pod_network import PodRequest, PortMapping

if TYPE_CHECKING:
    from pathlib import Path

    from cri.state.records import SandboxRecord


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
