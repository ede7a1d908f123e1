"""What a plugin is told about one pod: CNI_ARGS and capability arguments. Pure.

Capability keys and shapes are those of CNI's CONVENTIONS.md; a plugin gets, as `runtimeConfig`, the ones that
its configuration declares. CNI_ARGS are the Kubernetes convention that containerd and CRI-O follow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.network.quantity import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cri.network.configuration import Plugin
    from cri.network.documents import Json, JsonObject
    from cri.network.request import PodRequest, PortMapping

POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
INGRESS_ANNOTATION = "kubernetes.io/ingress-bandwidth"
EGRESS_ANNOTATION = "kubernetes.io/egress-bandwidth"
SMALLEST_RATE = 10**3
"""Bits per second; less is refused, as everywhere in Kubernetes."""
LARGEST_RATE = 10**15
UNLIMITED_BURST = 2**32 - 1
"""Bits; the annotations name a rate only, and this is the most that the bandwidth plugin takes."""
LARGEST_PORT = 65535

_ENDS_PAIR = re.compile(r"[;=\x00-\x1f\x7f]")


def cni_arguments(request: PodRequest) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS pairs. Raises InvalidArgument for a value that would break out of its pair."""
    pairs = (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", request.namespace),
        ("K8S_POD_NAME", request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", request.sandbox_id),
        ("K8S_POD_UID", request.uid),
    )
    for name, value in pairs:
        if _ENDS_PAIR.search(value):
            raise InvalidArgument(
                f"{name} cannot be {value!r}: ';', '=' and control characters are not possible there"
            )
    return pairs


def capability_arguments(request: PodRequest, pod_cidrs: Sequence[str]) -> JsonObject:
    """All capability arguments that this pod has values for. Raises InvalidArgument."""
    arguments: JsonObject = {POD_ANNOTATIONS: dict(request.annotations)}
    published: list[Json] = [
        _port_mapping(mapping) for mapping in request.port_mappings if _is_published(mapping)
    ]
    if published:
        arguments["portMappings"] = published
    if bandwidth := _bandwidth(request.annotations):
        arguments["bandwidth"] = bandwidth
    if dns := _dns(request):
        arguments["dns"] = dns
    if request.cgroup_parent:
        arguments["cgroupPath"] = request.cgroup_parent
    if pod_cidrs:
        # One set a CIDR: the plugin allocates an address from each set, which gives dual stack.
        arguments["ipRanges"] = [[{"subnet": cidr}] for cidr in pod_cidrs]
    return arguments


def runtime_config(plugin: Plugin, capabilities: JsonObject) -> JsonObject:
    """The part of the capability arguments that `plugin` declares."""
    return {name: value for name, value in capabilities.items() if name in plugin.capabilities}


def _is_published(mapping: PortMapping) -> bool:
    if not 0 <= mapping.host_port <= LARGEST_PORT:
        raise InvalidArgument(
            f"port_mappings: host port {mapping.host_port} is not between 0 and {LARGEST_PORT}"
        )
    return mapping.host_port != 0


def _port_mapping(mapping: PortMapping) -> JsonObject:
    if not 1 <= mapping.container_port <= LARGEST_PORT:
        raise InvalidArgument(
            f"port_mappings: container port {mapping.container_port} is not between 1 and {LARGEST_PORT}"
        )
    shown: JsonObject = {
        "hostPort": mapping.host_port,
        "containerPort": mapping.container_port,
        "protocol": mapping.protocol,
    }
    if mapping.host_ip:
        shown["hostIP"] = mapping.host_ip
    return shown


def _bandwidth(annotations: Mapping[str, str]) -> JsonObject:
    limits: JsonObject = {}
    for annotation, direction in ((INGRESS_ANNOTATION, "ingress"), (EGRESS_ANNOTATION, "egress")):
        if annotation in annotations:
            limits[f"{direction}Rate"] = _rate(annotation, annotations[annotation])
            limits[f"{direction}Burst"] = UNLIMITED_BURST
    return limits


def _rate(annotation: str, text: str) -> int:
    try:
        rate = parse_quantity(text)
    except ValueError as error:
        raise InvalidArgument(
            f"annotation {annotation}: {error}; write bits per second, such as 10M"
        ) from None
    if not SMALLEST_RATE <= rate <= LARGEST_RATE:
        raise InvalidArgument(f"annotation {annotation}: {text!r} is not between 1k and 1P bits per second")
    return rate


def _dns(request: PodRequest) -> JsonObject:
    dns: JsonObject = {}
    for key, values in (
        ("servers", request.dns_servers),
        ("searches", request.dns_searches),
        ("options", request.dns_options),
    ):
        if values:
            dns[key] = list(values)
    return dns
