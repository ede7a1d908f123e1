"""Pod networking: connections, names and ports, and what happens when CNI configuration or plugins are bad."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from api.wire import criv1
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually
from e2e.harness.pod_networks import (
    configuration_file,
    network_not_ready,
    no_configuration,
    plugin,
    preferred_network,
    recorded,
    recorder,
    script,
    stubborn,
)
from e2e.harness.registry import free_port

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

WEB_SERVER = "mkdir -p /www && echo from $(hostname) > /www/index.html && exec httpd -f -p 8080 -h /www"


async def web_server(workloads: Workloads, name: str = "web", **settings: Any) -> tuple[Pod, Container]:
    pod = await workloads.pod(name, **settings)
    container = await pod.run(command=["sh", "-c", WEB_SERVER])
    await eventually(
        lambda: container.execute("wget", "-q", "-O", "-", "http://127.0.0.1:8080/"),
        lambda answer: answer.exit_code == 0,
        "the web server answers",
    )
    return pod, container


async def fetched(address: str, port: int) -> str:
    """The body of an answer to a request from the host; empty if there is none."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
    except OSError:
        return ""
    return answer.decode().rpartition("\r\n\r\n")[2].strip()


async def test_the_address_is_of_the_pod_network_and_in_the_pod(workloads: Workloads, node: Node) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    address = await pod.address()
    assert ipaddress.ip_address(address) in ipaddress.ip_network(node.containerd.subnet)
    assert f"inet {address}/24" in await container.output_of("ip -4 addr show eth0")


async def test_loopback_is_up(workloads: Workloads) -> None:
    container = await (await workloads.pod()).sleeper()
    assert "LOOPBACK,UP" in await container.output_of("ip link show lo")
    assert "127.0.0.1/8" in await container.output_of("ip addr show lo")


async def test_host_and_pods_reach_a_pod(workloads: Workloads) -> None:
    pod, _ = await web_server(workloads)
    address = await pod.address()
    assert await fetched(address, 8080) == "from web"
    client = await (await workloads.pod("client")).sleeper()
    assert await client.output_of(f"wget -q -O - http://{address}:8080/") == "from web"


async def test_containers_of_a_pod_share_its_network(workloads: Workloads) -> None:
    pod, _ = await web_server(workloads)
    client = await pod.sleeper("client")
    assert await client.output_of("wget -q -O - http://127.0.0.1:8080/") == "from web"


async def test_a_host_port_leads_to_the_pod_until_it_stops(workloads: Workloads, node: Node) -> None:
    port = free_port()
    mapping = criv1.PortMapping(protocol=criv1.TCP, container_port=8080, host_port=port)
    none = criv1.PortMapping(protocol=criv1.TCP, container_port=8080, host_port=0)
    pod, _ = await web_server(workloads, ports=[mapping, none])
    gateway = str(next(ipaddress.ip_network(node.containerd.subnet).hosts()))
    assert await fetched(gateway, port) == "from web"
    await pod.stop()
    assert await fetched(gateway, port) == ""


@pytest.mark.cri_shim_only
async def test_without_configuration_only_host_network_pods_run(workloads: Workloads, node: Node) -> None:
    async with no_configuration(node):
        message = await network_not_ready(node)
        assert node.settings.cni_conf_dir in message
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await workloads.pod()
        assert node.settings.cni_conf_dir in str(refusal.value.details())
        host = await workloads.pod("host", host_network=True)
        container = await host.sleeper()
        assert await container.output_of("echo works") == "works"
    await workloads.pod()


@pytest.mark.cri_shim_only
async def test_a_broken_file_is_named_and_the_good_one_used(workloads: Workloads, node: Node) -> None:
    async with configuration_file(node, "99-broken.conflist", "{ not json"):
        await workloads.pod("beside")
    async with no_configuration(node):
        await network_not_ready(node)
        broken = Path(node.settings.cni_conf_dir, "50-broken.conflist")
        broken.write_text("{ not json")
        try:
            await eventually(
                lambda: network_not_ready(node), lambda message: broken.name in message, "the file is named"
            )
        finally:
            broken.unlink()


async def test_plugins_are_told_the_pod_and_its_ports(
    workloads: Workloads, node: Node, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    capabilities = dict.fromkeys(("portMappings", "bandwidth", "dns", "ipRanges", "cgroupPath"), True)
    bridge = node_bridge(node)
    with plugin(node, "e2e-recorder", recorder(journal)):
        async with preferred_network(
            node, "recorded", bridge, {"type": "e2e-recorder", "capabilities": capabilities}
        ):
            pod = await workloads.pod(
                "told",
                ports=[
                    criv1.PortMapping(
                        protocol=criv1.UDP, container_port=53, host_port=10053, host_ip="127.0.0.1"
                    )
                ],
                dns=criv1.DNSConfig(servers=["10.1.1.1"], searches=["a.example"], options=["ndots:2"]),
                annotations={
                    "kubernetes.io/ingress-bandwidth": "1M",
                    "kubernetes.io/egress-bandwidth": "2M",
                },
            )
            await pod.stop()
    [added] = recorded(journal, "ADD")
    arguments = dict(pair.split("=", 1) for pair in str(added["environment"]["CNI_ARGS"]).split(";"))
    assert arguments["K8S_POD_NAMESPACE"] == "e2e"
    assert arguments["K8S_POD_NAME"] == "told"
    assert arguments["K8S_POD_INFRA_CONTAINER_ID"] == added["environment"]["CNI_CONTAINERID"] == pod.id
    assert arguments["K8S_POD_UID"] == pod.config.metadata.uid
    assert added["environment"]["CNI_IFNAME"] == "eth0"
    runtime = any_case(added["configuration"]["runtimeConfig"])
    [mapping] = runtime["portmappings"]
    assert (mapping["hostport"], mapping["containerport"], mapping["protocol"]) == (10053, 53, "udp")
    assert mapping["hostip"] == "127.0.0.1"
    assert (runtime["bandwidth"]["ingressrate"], runtime["bandwidth"]["egressrate"]) == (1_000_000, 2_000_000)
    assert runtime["dns"] == {"servers": ["10.1.1.1"], "searches": ["a.example"], "options": ["ndots:2"]}
    [deleted, *_] = recorded(journal, "DEL")
    assert deleted["configuration"]["prevResult"], "DEL is given the result of ADD"


def any_case(value: Any) -> Any:
    """JSON with lower-case keys: Go reads keys in any case, and so the peers write some in another."""
    if isinstance(value, dict):
        return {key.lower(): any_case(item) for key, item in value.items()}
    return [any_case(item) for item in value] if isinstance(value, list) else value


def node_bridge(node: Node) -> dict[str, object]:
    """The first plugin of the node's own network, with the same reservations."""
    document = json.loads(node.containerd.layout.cni_conf_file.read_text())
    bridge: dict[str, object] = document["plugins"][0]
    return bridge


FAULTS = {
    "fails": 'ADD) echo \'{"cniVersion":"0.4.0","code":11,"msg":"as the test wants it"}\'; exit 1 ;;',
    "prints nonsense": "ADD) echo nonsense ;;",
    "is killed": "ADD) kill -9 $$ ;;",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_plugin_that_misbehaves_is_undone(
    fault: str, workloads: Workloads, node: Node, tmp_path: Path
) -> None:
    journal = tmp_path / "deleted"
    text = script(FAULTS[fault] + f"\nDEL) echo deleted >> {journal} ;;")
    with plugin(node, "e2e-fault", text):
        async with preferred_network(node, "faulty", node_bridge(node), {"type": "e2e-fault"}):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await workloads.pod("victim")
            assert "e2e-fault" in str(refusal.value.details()) or "as the test" in str(
                refusal.value.details()
            )
    assert journal.read_text().startswith("deleted"), "DEL follows a failed ADD"


@pytest.mark.cri_shim_only
async def test_a_plugin_that_hangs_is_given_up_and_undone(
    workloads: Workloads, node: Node, tmp_path: Path
) -> None:
    journal = tmp_path / "deleted"
    text = script(f"ADD) exec sleep 7654 ;;\nDEL) echo deleted >> {journal} ;;")
    with plugin(node, "e2e-fault", text):
        async with preferred_network(node, "hanging", node_bridge(node), {"type": "e2e-fault"}):
            request = criv1.RunPodSandboxRequest(config=workloads.config("victim"))
            async with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
                await node.cri.runtime.RunPodSandbox(request, timeout=1)
            with pytest.raises(grpc.aio.AioRpcError, match="e2e-fault"):
                await node.cri.runtime.RunPodSandbox(request)
            assert journal.read_text().startswith("deleted"), "DEL follows an ADD that was given up"


async def test_a_plugin_that_fails_to_delete_once_is_asked_again(
    workloads: Workloads, node: Node, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with plugin(node, "e2e-fault", stubborn(journal)):
        async with preferred_network(node, "sticky", node_bridge(node), {"type": "e2e-fault"}):
            pod = await workloads.pod()
            with pytest.raises(grpc.aio.AioRpcError, match="not now"):
                await pod.stop()
            await pod.stop()
            assert (await pod.status()).state == criv1.SANDBOX_NOTREADY
    assert len(recorded(journal, "DEL")) == 2
