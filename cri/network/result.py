"""What CNI plugins gave a pod, whatever version of the specification they speak. Values only, no I/O.

A `NetworkResult` is the result of one plugin chain (`cri.network.result_document` reads and writes it); an
`AttachmentResult` is what all networks together gave one sandbox.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.network.attachment import Attachment
    from cri.network.documents import JsonObject
    from cri.network.settings import IpPreference

INTERFACE_PREFIX = "eth"
"""Interfaces in the pod are eth0, eth1, … one per network."""
PRIMARY_INTERFACE = f"{INTERFACE_PREFIX}0"
"""The interface whose addresses are the pod's."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A link that a plugin made: inside the pod if `sandbox` is set, else on the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    """Path of the network namespace that it is in; empty on the host."""
    mtu: int = 0
    pci_id: str = ""
    socket_path: str = ""


@dataclass(frozen=True, slots=True)
class AssignedAddress:
    """An address that a plugin assigned."""

    address: str
    """Without prefix length, in canonical form."""
    interface: str
    """Name of the interface that has it."""
    gateway: str = ""
    prefix_length: int | None = None
    """None where a record of containerd, which does not keep it, was read."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route that a plugin set in the pod; numbers are None where the plugin did not say."""

    destination: str
    gateway: str = ""
    mtu: int | None = None
    advertised_mss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Resolver settings that a plugin recommends."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedAddress:
    """An entry of one network's `ips`, whose interface is an index (None: the one that was asked for)."""

    address: str
    prefix_length: int
    gateway: str = ""
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """The result of one plugin chain, whatever version it was printed in."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[ListedAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


@dataclass(frozen=True, slots=True)
class AttachmentResult:
    """What attaching a sandbox to all of its networks gave."""

    interfaces: tuple[Interface, ...]
    ips: tuple[AssignedAddress, ...]
    routes: tuple[Route, ...] = ()
    dns: tuple[Dns, ...] = ()
    """One per network."""
    attachments: tuple[Attachment, ...] = ()
    """What DEL needs, one per network; empty if the record was written by containerd."""

    @property
    def raw(self) -> tuple[JsonObject, ...]:
        """Each network's result as its last plugin printed it."""
        return tuple(item.result for item in self.attachments if item.result is not None)


def pod_ips(result: AttachmentResult, ip_pref: IpPreference) -> tuple[str, tuple[str, ...]]:
    """The pod's primary address and the others, all on eth0. `("", ())` if it has none.

    The primary is the first of the preferred family, or simply the first if there is none or `cni` is
    preferred; the others keep their order (as the kubelet takes them into status.podIPs).
    """
    addresses = [item.address for item in result.ips if item.interface == PRIMARY_INTERFACE]
    if not addresses:
        return "", ()
    family = {"ipv4": 4, "ipv6": 6}.get(ip_pref)
    preferred = (
        place for place, text in enumerate(addresses) if ipaddress.ip_address(text).version == family
    )
    primary = addresses.pop(next(preferred, 0))
    return primary, tuple(addresses)


def combine(
    networks: Sequence[tuple[str, NetworkResult]], attachments: Sequence[Attachment]
) -> AttachmentResult:
    """Put together what each network (by its interface's name) gave.

    An address that names no interface is on the one that the network was asked to make.
    """
    ips = tuple(
        AssignedAddress(
            address=item.address,
            interface=default if item.interface is None else result.interfaces[item.interface].name,
            gateway=item.gateway,
            prefix_length=item.prefix_length,
        )
        for default, result in networks
        for item in result.ips
    )
    return AttachmentResult(
        interfaces=tuple(interface for _, result in networks for interface in result.interfaces),
        ips=ips,
        routes=tuple(route for _, result in networks for route in result.routes),
        dns=tuple(result.dns for _, result in networks),
        attachments=tuple(attachments),
    )
