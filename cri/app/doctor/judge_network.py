"""Findings about CNI, packet filters, forwarding, name resolution and listening addresses. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.app.doctor.finding import Finding, broken, limited, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.app.doctor.facts import CniFacts, DnsFacts, Facts

FILTERING_PLUGINS = frozenset({"bridge", "ptp", "portmap", "firewall"})
"""Plugins that call iptables, for masquerading, host ports and rules."""
MOST_NAMESERVERS = 3
"""As many as the C library reads (resolv.conf(5)); the kubelet warns beyond."""


def judge_network(facts: Facts) -> Iterator[Finding]:
    """Everything between a pod and the rest of the world."""
    network = facts.network
    for cni in network.cni:
        yield from _cni(cni)
    used = {plugin for cni in network.cni for plugins in cni.networks.values() for plugin in plugins}
    if network.iptables is None and used & FILTERING_PLUGINS:
        yield broken(
            "network",
            "no iptables",
            f"The CNI plugins {', '.join(sorted(used & FILTERING_PLUGINS))} call it; pods would not start.",
            "apt-get install iptables",
        )
    elif network.iptables is None and network.nft is None:
        yield limited(
            "network",
            "neither iptables nor nft",
            "Services (kube-proxy) and host ports need one of them.",
            "apt-get install iptables nftables",
        )
    elif network.iptables is not None and "legacy" in network.iptables and network.nft is not None:
        yield note(
            "network",
            f"{network.iptables} beside nft",
            "Rules of the two worlds do not see each other; kube-proxy and CNI plugins should use the same.",
            "update-alternatives --set iptables /usr/sbin/iptables-nft",
        )
    yield from _forwarding(facts)
    yield from _dns(facts.dns)
    for port in facts.ports:
        if port.problem:
            yield broken(
                "ports",
                f"{port.purpose} {port.address}: {port.problem}",
                "The server cannot listen there.",
                port.remedy,
            )
    for registry in facts.registries:
        if registry.problem:
            yield broken(
                "registries",
                f"{registry.host}: {registry.problem}",
                "Images from there cannot be pulled.",
                f"Check name resolution, proxy and firewall; curl -v https://{registry.host}/v2/ shows each step.",
            )


def _cni(cni: CniFacts) -> Iterator[Finding]:
    if not cni.networks:
        yield broken(
            "network",
            f"no network in {cni.conf_dir}: {cni.obstacle or 'no file can be used'}",
            "Pods without host network cannot start and the node stays NotReady.",
            "Install the cluster's network add-on, or copy /usr/share/doc/cri-shim/examples/10-bridge.conflist there.",
        )
    for problem in cni.problems:
        yield limited(
            "network",
            problem,
            "The file is passed over; the network that it describes is not the pods'.",
            f"Correct or remove the file; plugins are looked for in {', '.join(cni.bin_dirs)} (apt-get install "
            "containernetworking-plugins).",
        )


def _forwarding(facts: Facts) -> Iterator[Finding]:
    sysctls = facts.kernel.sysctls
    if sysctls.get("net.ipv4.ip_forward") == "0":
        yield broken(
            "network",
            "net.ipv4.ip_forward is 0",
            "Packets of pods do not leave the node.",
            "sysctl -w net.ipv4.ip_forward=1 # and a file in /etc/sysctl.d",
        )
    bridged = sysctls.get("net.bridge.bridge-nf-call-iptables")
    bridges = any("bridge" in plugins for cni in facts.network.cni for plugins in cni.networks.values())
    if bridges and bridged is None:
        yield limited(
            "network",
            "br_netfilter is not loaded",
            "Traffic between pods of one bridge passes services' and policies' rules by.",
            "modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/cri-shim.conf",
        )
    elif bridges and bridged == "0":
        yield limited(
            "network",
            "net.bridge.bridge-nf-call-iptables is 0",
            "Traffic between pods of one bridge passes services' and policies' rules by.",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1 # and a file in /etc/sysctl.d",
        )


def _dns(dns: DnsFacts) -> Iterator[Finding]:
    if not dns.nameservers:
        yield limited(
            "dns",
            f"{dns.file} names no server",
            "Registries are not found by name, nor anything by pods that inherit the node's resolver.",
            f"Write nameserver lines into {dns.file}.",
        )
    local = [server for server in dns.nameservers if server.startswith("127.") or server == "::1"]
    if local:
        yield limited(
            "dns",
            f"{dns.file} names {', '.join(local)}",
            "Inside of a pod that address is the pod's own: pods that inherit the node's resolver resolve nothing.",
            "Point the kubelet's resolvConf at /run/systemd/resolve/resolv.conf or another file with real servers.",
        )
    if len(dns.nameservers) > MOST_NAMESERVERS:
        yield note(
            "dns",
            f"{dns.file} names {len(dns.nameservers)} servers",
            f"Only the first {MOST_NAMESERVERS} are asked.",
            f"Keep {MOST_NAMESERVERS}.",
        )
