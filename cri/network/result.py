"""CNI results of every version, in one shape. Pure; no program is run and no file is read here."""

from __future__ import annotations

from dataclasses import dataclass

from cri.network.attachment import Attachment
from cri.network.documents import JsonObject
from cri.network.settings import IpPreference


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
    raise NotImplementedError
