"""The pod network of an embedded containerd: a bridge of its own, a subnet nobody else on the host uses.

The bridge's and the network's names carry the directory's fingerprint, so that what was left behind by a
crash is recognised and removed without touching another network. Bridge, addresses and rules are made by the
CNI plugins as pods come; only their removal is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import shutil
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cri.errors import FailedPrecondition, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.app.embedded_layout import EmbeddedLayout

PLUGIN_DIRECTORIES = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
"""Where Debian, the upstream tarball and Fedora put the CNI reference plugins."""

NEEDED_PLUGINS = ("bridge", "host-local", "portmap", "loopback")

POOL = ipaddress.ip_network("10.64.0.0/10")
"""Pods get a /24 from here: private (RFC 1918), away from the low 10.x nets of common VPNs and clusters."""

SHARED_CHAINS = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ")
"""nat chains that the portmap plugin makes once per host, for all networks, and never removes."""


@dataclass(frozen=True, slots=True)
class EmbeddedNetwork:
    """Names and addresses of the pod network."""

    name: str
    bridge: str
    subnet: IPv4Network

    def conflist(self, layout: EmbeddedLayout) -> dict[str, object]:
        """The CNI network configuration list (CNI spec 1.0, section 1)."""
        return {
            "cniVersion": "0.4.0",
            "name": self.name,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(layout.reservations),
                        "ranges": [[{"subnet": str(self.subnet)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            ],
        }


def plugin_directories(candidates: Iterable[str] = PLUGIN_DIRECTORIES) -> tuple[str, ...]:
    """The existing directories with CNI plugins. Raises FailedPrecondition if a needed plugin is in none."""
    existing = tuple(directory for directory in candidates if Path(directory).is_dir())
    missing = [
        plugin for plugin in NEEDED_PLUGINS if not any(Path(place, plugin).exists() for place in existing)
    ]
    if missing:
        raise FailedPrecondition(
            f"CNI plugins {', '.join(missing)} are in none of {', '.join(candidates)}: "
            "install them (Debian: apt-get install containernetworking-plugins)"
        )
    return existing


def choose_network(layout: EmbeddedLayout, routes: Iterable[IPv4Network]) -> EmbeddedNetwork:
    """The network for this directory: the configured one if there is one, else a subnet clear of `routes`.

    `routes` are the host's destinations without those of our own bridge. The search starts at a place that
    the fingerprint gives, so that several embedded directories rarely meet even before their bridges exist.
    """
    name, bridge = f"cri-shim-{layout.fingerprint}", f"cri{layout.fingerprint}"
    taken = [route for route in routes if route.prefixlen > 0]
    candidates = [subnet for subnet in POOL.subnets(new_prefix=24) if isinstance(subnet, IPv4Network)]
    first = int(layout.fingerprint, 16) % len(candidates)
    configured = configured_subnet(layout)
    preferred = [configured] if configured is not None else []
    for subnet in preferred + candidates[first:] + candidates[:first]:
        if not any(subnet.overlaps(route) for route in taken):
            return EmbeddedNetwork(name, bridge, subnet)
    raise FailedPrecondition(f"no free /24 in {POOL} for the pod network: the host's routes cover all of it")


def configured_subnet(layout: EmbeddedLayout) -> IPv4Network | None:
    """The subnet in the configuration file that an earlier life wrote; None if there is none to be read."""
    try:
        conflist: dict[str, Any] = json.loads(layout.cni_conf_file.read_text())
        return ipaddress.IPv4Network(conflist["plugins"][0]["ipam"]["ranges"][0][0]["subnet"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def host_routes(bridge: str, table: Path = Path("/proc/net/route")) -> list[IPv4Network]:
    """The IPv4 destinations of the main routing table, but for those through `bridge` (proc(5))."""
    routes = []
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0] == bridge:
            continue
        destination, mask = (int(fields[index], 16).to_bytes(4, "little") for index in (1, 7))
        routes.append(IPv4Network((int.from_bytes(destination), str(ipaddress.IPv4Address(mask)))))
    return routes


def write_network(layout: EmbeddedLayout, network: EmbeddedNetwork) -> None:
    """Write the configuration list where the server looks for it, whole or not at all."""
    layout.cni_conf_dir.mkdir(parents=True, exist_ok=True)
    layout.reservations.mkdir(parents=True, exist_ok=True)
    unfinished = layout.cni_conf_file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(network.conflist(layout), indent=2) + "\n")
    unfinished.replace(layout.cni_conf_file)


async def remove_network(layout: EmbeddedLayout, network: EmbeddedNetwork) -> None:
    """Take away the bridge, the nat rules and the address reservations; no pod may be left.

    Idempotent. Raises Unavailable if the kernel or iptables refuses.
    """
    await _remove_bridge(network.bridge)
    await _remove_rules(network.name)
    await asyncio.to_thread(shutil.rmtree, layout.reservations, ignore_errors=True)


async def _remove_bridge(bridge: str) -> None:
    from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]  # slow to import, needed only here

    async with AsyncIPRoute() as netlink:
        for index in await netlink.link_lookup(ifname=bridge):
            await netlink.link("del", index=index)


async def _remove_rules(network: str) -> None:
    if shutil.which("iptables-save") is None:
        return
    saved = await _iptables("iptables-save", "-t", "nat")
    commands = removal_of_rules(saved, network)
    if commands:
        await _iptables(
            "iptables-restore", "--noflush", "--wait", given="\n".join(["*nat", *commands, "COMMIT", ""])
        )
    for attempt in removal_of_shared_chains(await _iptables("iptables-save", "-t", "nat")):
        with contextlib.suppress(Unavailable):  # another network has begun to use them meanwhile: they stay
            await _iptables("iptables-restore", "--noflush", "--wait", given=attempt)


def removal_of_rules(saved: str, network: str) -> list[str]:
    """The iptables-restore lines that remove the rules of `network` from an `iptables-save -t nat` text.

    The bridge and portmap plugins put the network's name into a comment of each rule that leads to a chain of
    one pod; those chains go too.
    """
    rules = [
        line for line in saved.splitlines() if line.startswith("-A ") and f'name: \\"{network}\\"' in line
    ]
    targets = {found[1] for rule in rules if (found := re.search(r" -j (CNI-\S+)$", rule))} - set(
        SHARED_CHAINS
    )
    deletions = ["-D " + rule.removeprefix("-A ") for rule in rules if rule.split()[1] not in targets]
    return (
        deletions
        + [f"-F {chain}" for chain in sorted(targets)]
        + [f"-X {chain}" for chain in sorted(targets)]
    )


def removal_of_shared_chains(saved: str) -> list[str]:
    """At most one iptables-restore text that removes portmap's host-wide chains, if no pod uses them.

    It is one transaction: should another network add a rule first, deleting the chain fails and all stays.
    """
    lines = saved.splitlines()
    present = [chain for chain in SHARED_CHAINS if any(line.startswith(f":{chain} ") for line in lines)]
    if not present or any(line.startswith("-A CNI-HOSTPORT-DNAT ") for line in lines):
        return []
    jumps = [
        "-D " + line.removeprefix("-A ")
        for line in lines
        if line.startswith("-A ") and line.split()[1] not in present and line.split()[-1] in present
    ]
    flushes = [f"-F {chain}" for chain in present if chain != "CNI-HOSTPORT-DNAT"]
    return ["\n".join(["*nat", *jumps, *flushes, *(f"-X {chain}" for chain in present), "COMMIT", ""])]


async def _iptables(*command: str, given: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given.encode())
    if process.returncode != 0:
        raise Unavailable(f"{' '.join(command)} ended with {process.returncode}: {errors.decode().strip()}")
    return output.decode()
