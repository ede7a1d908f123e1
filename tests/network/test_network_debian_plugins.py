"""Pods on a real bridge, with the plugins that Debian ships. Needs root; each test has a bridge of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scripted_plugins import eventually

from cri.linux.namespaces import create_network_namespace, inside_network_namespace, remove_network_namespace
from cri.network.pod_network import PodNetwork, PodRequest, PortMapping
from cri.network.result import AttachmentResult, pod_ips
from cri.network.settings import NetworkSettings

PROGRAMS = Path("/usr/lib/cni")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass
class Bridge:
    """A CNI network on a bridge that nobody else uses, and the pods on it."""

    root: Path
    stack: AsyncExitStack
    name: str = field(default_factory=lambda: f"crn{uuid.uuid4().hex[:8]}")
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A /26 of its own out of 10.232.0.0/14, so that tests can run beside each other.
        self.subnet = ipaddress.ip_network((0x0AE80000 + (uuid.uuid4().int % 4096) * 64, 26))
        (self.root / "net.d").mkdir()

    def configure(
        self, *chained: object, version: str = "1.0.0", subnets: tuple[str, ...] = (), **bridge: object
    ) -> PodNetwork:
        ipam = {
            "type": "host-local",
            "dataDir": str(self.root / "reservations"),
            "ranges": [[{"subnet": subnet}] for subnet in (str(self.subnet), *subnets)],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        plugin = {"type": "bridge", "bridge": self.name, "isGateway": True, "ipam": ipam} | bridge
        document = {"cniVersion": version, "name": self.name, "plugins": [plugin, *chained]}
        (self.root / "net.d" / "10-pods.conflist").write_text(json.dumps(document))
        settings = NetworkSettings(
            bin_dirs=(PROGRAMS,),
            conf_dir=self.root / "net.d",
            cache_dir=self.root / "cache",
            plugin_timeout_seconds=30,
        )
        return PodNetwork(settings, lambda plugin, verb, _seconds, _ok: self.calls.append((plugin, verb)))

    async def pod(self, *ports: PortMapping, **annotations: str) -> PodRequest:
        """A sandbox with a network namespace, which goes away with the test."""
        sandbox_id = uuid.uuid4().hex * 2
        path = self.root / sandbox_id
        await create_network_namespace(path)
        self.stack.push_async_callback(remove_network_namespace, path)
        marked = {key.replace("_", "/"): value for key, value in annotations.items()}
        return PodRequest(sandbox_id, path, "web", "default", "u", annotations=marked, port_mappings=ports)

    def leftovers(self, *pods: PodRequest) -> dict[str, list[str]]:
        """What is still there of these pods, by place; nothing after a clean detach."""
        links = json.loads(output("ip", "-json", "link", "show", "master", self.name))
        rules = output("iptables-save").splitlines()
        directories = {
            "reservations": self.root / "reservations" / self.name,
            "cache": self.root / "cache" / "results",
        }
        found = {
            "links": [link["ifname"] for link in links],
            "rules": [rule for rule in rules if any(pod.sandbox_id in rule for pod in pods)],
        } | {
            place: [name for name in os.listdir(directory) if name != "lock" and "last_reserved" not in name]
            for place, directory in directories.items()
        }
        return {place: things for place, things in found.items() if things}


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    assert os.geteuid() == 0, "these tests make network namespaces and need root"
    assert (PROGRAMS / "bridge").exists(), "these tests need Debian's package containernetworking-plugins"
    async with AsyncExitStack() as stack:
        made = Bridge(tmp_path, stack)
        stack.callback(
            lambda: subprocess.run(["ip", "link", "del", made.name], check=False, capture_output=True)
        )
        yield made


async def addresses_inside(pod: PodRequest) -> tuple[list[str], list[str]]:
    """(addresses of eth0, default gateways) as the kernel has them in the pod."""
    assert pod.network_namespace is not None

    def look() -> tuple[list[str], list[str]]:
        addresses = json.loads(output("ip", "-json", "addr", "show", "dev", "eth0"))[0]["addr_info"]
        routes = json.loads(output("ip", "-json", "route", "show", "default"))
        found = [f"{item['local']}/{item['prefixlen']}" for item in addresses if item["family"] == "inet"]
        return found, [route["gateway"] for route in routes]

    return await inside_network_namespace(pod.network_namespace, look)


async def listening(pod: PodRequest, port: int) -> socket.socket:
    """A socket that listens inside the pod."""
    assert pod.network_namespace is not None
    return await inside_network_namespace(pod.network_namespace, lambda: socket.create_server(("", port)))


async def test_a_pod_gets_an_address_and_a_default_route_and_gives_them_back(bridge: Bridge) -> None:
    network = bridge.configure({"type": "portmap", "capabilities": {"portMappings": True}}, ipMasq=True)
    pod = await bridge.pod()
    attached = await network.attach(pod)
    primary, additional = pod_ips(attached, "ipv4")
    assert ipaddress.ip_address(primary) in bridge.subnet
    assert additional == ()
    gateway = str(next(bridge.subnet.hosts()))
    assert await addresses_inside(pod) == ([f"{primary}/26"], [gateway])
    await network.check(pod, attached)
    kinds = {"links", "rules", "reservations", "cache"}
    assert set(bridge.leftovers(pod)) == kinds, "the test would notice each kind of leftover"
    await network.detach(pod, attached)
    assert bridge.leftovers(pod) == {}
    await network.detach(pod, attached)
    await network.detach(pod, None)


async def test_a_host_port_reaches_the_pod_and_is_closed_again(bridge: Bridge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host_port: int = free.getsockname()[1]
    network = bridge.configure({"type": "portmap", "capabilities": {"portMappings": True}})
    pod = await bridge.pod(PortMapping(8080, host_port), PortMapping(9090, 0))
    attached = await network.attach(pod)
    with await listening(pod, 8080) as server:
        with socket.create_connection(("127.0.0.1", host_port), timeout=5) as client:
            server.settimeout(5)
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"ping")
                assert accepted.recv(4) == b"ping"
        await network.detach(pod, attached)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", host_port), timeout=5)
    assert bridge.leftovers(pod) == {}


async def test_ten_pods_at_once(bridge: Bridge) -> None:
    network = bridge.configure({"type": "portmap", "capabilities": {"portMappings": True}})
    pods = [await bridge.pod() for _ in range(10)]
    attached = await gathered(*(network.attach(pod) for pod in pods))
    addresses = {pod_ips(result, "ipv4")[0] for result in attached}
    assert len(addresses) == 10, "every pod has an address of its own"
    assert len(bridge.leftovers(*pods)["links"]) == 10
    await gathered(*(network.detach(pod, result) for pod, result in zip(pods, attached, strict=True)))
    assert bridge.leftovers(*pods) == {}


async def gathered(*works: object) -> list[AttachmentResult]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]  # type: ignore[arg-type]
    return [task.result() for task in tasks]


async def test_a_sandbox_whose_namespace_is_gone_gives_its_address_back(bridge: Bridge) -> None:
    network = bridge.configure({"type": "portmap", "capabilities": {"portMappings": True}})
    pod = await bridge.pod(PortMapping(80, 39999, "udp"))
    attached = await network.attach(pod)
    assert pod.network_namespace is not None
    await remove_network_namespace(pod.network_namespace)
    await network.detach(pod, attached)
    await eventually(lambda: bridge.leftovers(pod) == {}, "something is left")  # the kernel ends a veth later


async def test_a_namespace_that_lost_its_mount_counts_as_gone(bridge: Bridge) -> None:
    network = bridge.configure()
    pod = await bridge.pod()
    attached = await network.attach(pod)
    assert pod.network_namespace is not None
    await remove_network_namespace(pod.network_namespace)
    pod.network_namespace.touch()
    await network.detach(pod, attached)
    await eventually(lambda: bridge.leftovers(pod) == {}, "something is left")  # the kernel ends a veth later


async def test_a_chain_that_fails_half_way_leaves_nothing(bridge: Bridge) -> None:
    network = bridge.configure({"type": "tuning", "sysctl": {"net.ipv4.no_such_sysctl": "1"}})
    pod = await bridge.pod()
    with pytest.raises(Exception, match="'tuning' failed to ADD"):
        await network.attach(pod)
    assert set(bridge.leftovers(pod)) == {"links", "reservations", "cache"}, (
        "the bridge plugin had done its part"
    )
    await network.detach(pod, None)
    assert bridge.leftovers(pod) == {}


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "0.4.0"])
async def test_older_versions(bridge: Bridge, version: str) -> None:
    network = bridge.configure({"type": "portmap", "capabilities": {"portMappings": True}}, version=version)
    pod = await bridge.pod()
    attached = await network.attach(pod)
    primary, _ = pod_ips(attached, "ipv4")
    assert (await addresses_inside(pod))[0] == [f"{primary}/26"]
    await network.detach(pod, attached)
    assert bridge.leftovers(pod) == {}


async def test_bandwidth_limits_reach_the_kernel(bridge: Bridge) -> None:
    network = bridge.configure({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    pod = await bridge.pod(
        **{"kubernetes.io_ingress-bandwidth": "10M", "kubernetes.io_egress-bandwidth": "20M"}
    )
    attached = await network.attach(pod)
    host_side = next(link.name for link in attached.interfaces if link.name.startswith("veth"))
    assert "rate 10Mbit" in output("tc", "qdisc", "show", "dev", host_side)
    on_host = {link.name for link in attached.interfaces if not link.sandbox} - {bridge.name}
    assert len(on_host) == 2, "a veth, and a device that shapes what the pod sends"
    await network.detach(pod, attached)
    assert bridge.leftovers(pod) == {}
    remaining = {link["ifname"] for link in json.loads(output("ip", "-json", "link"))}
    assert not on_host & remaining, "the shaping device is gone, too"


async def test_a_dual_stack_pod_has_both_addresses(bridge: Bridge) -> None:
    network = bridge.configure(subnets=(f"fd00:{uuid.uuid4().hex[:4]}::/120",))
    pod = await bridge.pod()
    attached = await network.attach(pod)
    primary, additional = pod_ips(attached, "ipv4")
    assert ipaddress.ip_address(primary) in bridge.subnet
    assert [ipaddress.ip_address(item).version for item in additional] == [6]
    assert pod_ips(attached, "ipv6")[0] == additional[0]
    await network.detach(pod, attached)
    assert bridge.leftovers(pod) == {}


async def test_a_list_of_a_version_that_the_plugins_do_not_speak_is_told_in_the_status(
    bridge: Bridge,
) -> None:
    network = bridge.configure(version="1.1.0")
    await network.load()
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        task = group.create_task(network.run())
        while "not answered" in (message := network.status().message):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
    assert "'bridge' failed to STATUS" in message, message
    assert not network.status().ready
