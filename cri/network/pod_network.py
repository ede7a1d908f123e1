"""The pod network as the rest of the server sees it: attach a sandbox, detach it, say whether that would work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cri.network.documents import JsonObject
from cri.network.result import AttachmentResult
from cri.network.settings import NetworkSettings

Observer = Callable[[str, str, float, bool], None]
"""Called after each plugin call with (plugin type, verb, seconds, succeeded)."""


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


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The NetworkReady condition of CRI's Status."""

    ready: bool
    reason: str
    """"NetworkPluginNotReady" when not ready, else empty."""
    message: str
    """Names each bad file with its mistake, also when others make the network ready."""


class PodNetwork:
    """Attaches sandboxes to the configured CNI networks and keeps watch over the configuration."""

    def __init__(self, settings: NetworkSettings, observer: Observer | None = None) -> None:
        """`observer` hears of every plugin call, for metrics."""

    async def load(self) -> None:
        """Read the configuration directory now; called once before serving, `run` does it from then on."""
        raise NotImplementedError

    async def run(self) -> None:
        """Watch the configuration directory for ever. Kept alive by the server's supervisor."""
        raise NotImplementedError

    def status(self) -> NetworkStatus:
        """Whether pods can be attached now. Answers from memory; never waits for a plugin."""
        raise NotImplementedError

    async def attach(self, request: PodRequest) -> AttachmentResult:
        """ADD the sandbox to every configured network: eth0, eth1, … in the order of the files' names.

        Counts as done from the moment it was started: after an error or a cancellation call `detach` with no
        result. Raises Unavailable when no network is configured or a plugin fails, DeadlineExceeded when one
        hangs, InvalidArgument when a bandwidth annotation or a port mapping is wrong.
        """
        raise NotImplementedError

    async def detach(self, request: PodRequest, result: AttachmentResult | None) -> None:
        """DEL the sandbox from the networks that it was added to, with the configuration that ADD used.

        `result` is what attach returned (from the sandbox record), None if that is not known. Idempotent;
        success when there is nothing to undo. Tries every network, then raises what went wrong (Unavailable,
        DeadlineExceeded); what failed stays cached, so that calling again tries it again.
        """
        raise NotImplementedError

    async def set_pod_cidrs(self, cidrs: Sequence[str]) -> None:
        """Take over the node's pod CIDRs (CRI's UpdateRuntimeConfig): renders `conf_template` if there is one
        and offers them to plugins as `ipRanges`. Empty is a no-op. Raises InvalidArgument for a bad CIDR and
        FailedPrecondition for a template that does not render to a valid network list.
        """
        raise NotImplementedError

    def describe(self) -> JsonObject:
        """The loaded configuration in the shape of containerd's verbose status (`crictl info`, `cniconfig`)."""
        raise NotImplementedError
