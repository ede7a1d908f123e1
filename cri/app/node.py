"""Assembles the domain: which object gets which collaborator. Nothing is started here."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from cri.app.config.assembly import (
    container_settings,
    image_settings,
    network_settings,
    node_paths,
    oci_settings,
    registry_settings,
    sandbox_settings,
    stats_settings,
    stream_settings,
)
from cri.app.log_keeper_cgroup import settler
from cri.container.accounts import Accounts
from cri.container.cdi import CdiDevices
from cri.container.containers import Containers
from cri.container.engine import Engine
from cri.container.selinux import Selinux
from cri.image.store import ImageStore
from cri.linux.selinux import policy_contexts
from cri.logs.client import Followed, LogKeeper
from cri.network.pod_network import PodNetwork
from cri.oci.selinux import parse_policy_contexts
from cri.sandbox.engine import PodEngine
from cri.sandbox.events import ContainerEvents
from cri.sandbox.janitor.rounds import Janitor
from cri.sandbox.networks import Networks
from cri.sandbox.node_stats import NodeStats
from cri.sandbox.node_status import Releases
from cri.sandbox.observer import Observer
from cri.sandbox.recovery import to_follow
from cri.sandbox.sandboxes import Sandboxes
from cri.services.admission import Admission
from cri.services.collaborators import Collaborators
from cri.state.node import Node
from cri.stream.server import StreamServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.containerd import Client
    from cri.app.config.configuration import Configuration
    from cri.concurrency.supervision import Supervisor
    from cri.container.handlers import Handlers
    from cri.network.settings import NetworkSettings
    from cri.observe.metrics import Metrics
    from cri.oci.host import HostFacts

LOG_KEEPER_COMMAND = (sys.executable, "-m", "cri.logs.keeper")


@dataclass(eq=False, slots=True)
class Assembly:
    """The server's parts, assembled and not yet running."""

    configuration: Configuration
    """What is in effect; replaced when it is read again."""
    on: Collaborators
    client: Client
    keeper: LogKeeper
    janitor: Janitor

    @property
    def networks(self) -> Networks:
        """The pod networks of now."""
        return self.on.pods.networks


def assemble(
    configuration: Configuration,
    client: Client,
    metrics: Metrics,
    supervisor: Supervisor,
    containerd_release: str,
    handlers: Handlers,
    host: HostFacts,
    keeper: type[LogKeeper] = LogKeeper,
) -> Assembly:
    """Build everything; `keeper` is the kind of log keeper's client to use."""
    paths = node_paths(configuration)

    async def followed() -> Sequence[Followed]:
        return to_follow(pods)

    logs = keeper(
        paths.log_keeper_socket, LOG_KEEPER_COMMAND, followed, settler(configuration.log_keeper_cgroup)
    )
    engine = Engine(
        client=client,
        node=Node(),
        images=ImageStore(
            client, image_settings(configuration), registry_settings(configuration), supervisor, metrics
        ),
        keeper=logs,
        supervisor=supervisor,
        handlers=handlers,
        paths=paths,
        host=host,
        oci=oci_settings(configuration),
        settings=container_settings(configuration),
        accounts=Accounts(client),
        selinux=_selinux(configuration, host),
        cdi=CdiDevices(configuration.cdi_spec_dirs if configuration.enable_cdi else ()),
    )
    pods = PodEngine(
        engine, build_networks(configuration, handlers, metrics), sandbox_settings(configuration)
    )
    on = Collaborators(
        pods=pods,
        sandboxes=Sandboxes(pods),
        containers=Containers(engine),
        observer=Observer(pods),
        releases=Releases(containerd_release, version("cri-shim")),
        streams=StreamServer(stream_settings(configuration)),
        configuration=lambda: effective(assembly.configuration),
        stats=NodeStats(engine, stats_settings(configuration)),
        events=ContainerEvents(engine, metrics),
        admission=Admission(configuration.grpc.max_concurrent_rpcs),
    )
    janitor = Janitor(pods, on.observer, configuration.janitor.interval)
    assembly = Assembly(configuration, on, client, logs, janitor)
    return assembly


def _selinux(configuration: Configuration, host: HostFacts) -> Selinux:
    """Labels, or none where the kernel or the operator will have none. Blocking for one small file."""
    if not (configuration.enable_selinux and host.selinux):
        return Selinux()
    return Selinux(parse_policy_contexts(policy_contexts()), configuration.selinux_category_range)


def build_networks(configuration: Configuration, handlers: Handlers, metrics: Metrics) -> Networks:
    """The node's pod network, and one for each handler with a configuration directory of its own."""

    def observe(plugin: str, verb: str, seconds: float, ok: bool) -> None:  # noqa: FBT001 - the network's interface
        metrics.cni_call(plugin, verb, seconds, failed=not ok)

    settings = network_settings(configuration)
    special = {name: PodNetwork(its, observe) for name, its in _special_networks(settings, handlers).items()}
    return Networks(PodNetwork(settings, observe), special, settings.ip_pref)


def succeeding_networks(networks: Networks, configuration: Configuration, handlers: Handlers) -> Networks:
    """The networks of a configuration that was read again; those whose settings have not changed are the same."""

    def succeeding(network: PodNetwork, settings: NetworkSettings) -> PodNetwork:
        return network if network.settings == settings else network.successor(settings)

    settings = network_settings(configuration)
    special = {
        name: succeeding(networks.by_handler.get(name, networks.default), its)
        for name, its in _special_networks(settings, handlers).items()
    }
    return Networks(succeeding(networks.default, settings), special, settings.ip_pref)


def _special_networks(settings: NetworkSettings, handlers: Handlers) -> Mapping[str, NetworkSettings]:
    """Settings by handler, of those that have a CNI configuration of their own."""
    return {
        handler.name: replace(
            settings, conf_dir=handler.cni_conf_dir, max_conf_num=handler.cni_max_conf_num or 0
        )
        for handler in handlers
        if handler.cni_conf_dir is not None
    }


def effective(configuration: Configuration) -> Mapping[str, object]:
    """The configuration as `crictl info` shows it: containerd's shape where tools look for it, no secrets."""
    return {
        "containerd": {
            "snapshotter": configuration.containerd.snapshotter,
            "defaultRuntimeName": configuration.containerd.default_runtime_name,
            "runtimes": {
                name: {"runtimeType": runtime.runtime_type, "options": dict(runtime.options)}
                for name, runtime in configuration.containerd.runtimes.items()
            },
        },
        "cni": {"binDirs": list(configuration.cni.bin_dirs), "confDir": configuration.cni.conf_dir},
        "containerdEndpoint": configuration.containerd.address,
        "rootDir": configuration.root,
        "stateDir": configuration.state,
        "sandboxImage": configuration.sandbox_image,
        "sandboxMode": configuration.sandbox_mode,
    }
