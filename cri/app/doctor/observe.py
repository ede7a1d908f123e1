"""Gathers all facts of a node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from api.containerd.introspection import SNAPSHOTTER
from cri.app.abilities import with_abilities
from cri.app.doctor.facts import Facts
from cri.app.doctor.observe_machine import (
    cgroup_facts,
    clock_facts,
    dns_facts,
    filesystem_facts,
    kernel_facts,
    process_facts,
    security_facts,
)
from cri.app.doctor.observe_services import (
    containerd_facts,
    handler_facts,
    network_facts,
    port_facts,
    registry_facts,
)
from cri.app.handlers import build_handlers
from cri.app.host import detect_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.containerd import Client
    from cri.app.config.configuration import Configuration
    from cri.app.doctor.facts import ContainerdFacts

LOGS = Path("/var/log/pods")


async def observe(configuration: Configuration, client: Client, registries: Sequence[str] = ()) -> Facts:
    """Look at everything; registries are asked only by name, since that leaves the machine."""
    host = await asyncio.to_thread(detect_host)
    handlers = await with_abilities(build_handlers(configuration), client, host)
    containerd = await containerd_facts(client)
    places = [
        ("root", Path(configuration.root)),
        ("state", Path(configuration.state)),
        ("logs", LOGS),
        *_snapshot_directories(containerd, configuration.containerd.snapshotter),
    ]
    return Facts(
        kernel=await asyncio.to_thread(kernel_facts, host),
        cgroups=await asyncio.to_thread(cgroup_facts, handlers),
        process=process_facts(host),
        containerd=containerd,
        snapshotter=configuration.containerd.snapshotter,
        allow_builtin_cri=configuration.containerd.allow_builtin_cri,
        handlers=await handler_facts(handlers),
        network=await network_facts(configuration, handlers),
        filesystems=await asyncio.to_thread(filesystem_facts, places),
        clock=clock_facts(),
        dns=await asyncio.to_thread(dns_facts),
        security=security_facts(
            host,
            enable_selinux=configuration.enable_selinux,
            disable_apparmor=configuration.disable_apparmor,
        ),
        ports=await asyncio.to_thread(port_facts, configuration),
        registries=await registry_facts(configuration, registries),
    )


def _snapshot_directories(containerd: ContainerdFacts, snapshotter: str) -> list[tuple[str, Path]]:
    return [
        ("images", Path(plugin.exports["root"]))
        for plugin in containerd.plugins
        if plugin.type == SNAPSHOTTER and plugin.id == snapshotter and "root" in plugin.exports
    ]
