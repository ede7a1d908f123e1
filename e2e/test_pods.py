"""Pod sandboxes: what they are given, how they are found, how they end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually

if TYPE_CHECKING:
    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads


async def listed(cri: Cri, **criteria: object) -> list[criv1.PodSandbox]:
    filters = criv1.PodSandboxFilter(**criteria)  # type: ignore[arg-type]
    return list((await cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest(filter=filters))).items)


async def test_a_pod_is_ready_with_an_address_and_not_ready_when_stopped(workloads: Workloads) -> None:
    pod = await workloads.pod("web")
    status = await pod.status()
    assert status.state == criv1.SANDBOX_READY
    assert status.network.ip
    assert status.created_at > 0
    await pod.stop()
    status = await pod.status()
    assert status.state == criv1.SANDBOX_NOTREADY
    assert not status.network.ip, "a stopped pod has given its address back"


async def test_status_gives_back_what_was_asked(workloads: Workloads) -> None:
    labels = {"app": "web", "empty": "", "io.kubernetes.pod.name": "web"}
    annotations = {"note": "line 1\nline 2 ü", "json": '{"a": "b"}'}
    pod = await workloads.pod("web", labels=labels, annotations=annotations, attempt=3)
    status = await pod.status()
    assert status.metadata == pod.config.metadata
    assert dict(status.labels) == labels
    assert dict(status.annotations) == annotations
    assert status.linux.namespaces.options.network == criv1.POD
    assert status.runtime_handler == ""
    [item] = await listed(workloads.cri, id=pod.id)
    assert (item.metadata, dict(item.labels), dict(item.annotations)) == (
        status.metadata,
        labels,
        annotations,
    )


async def test_lists_are_filtered_by_state_label_and_id_together(workloads: Workloads) -> None:
    first = await workloads.pod("first", labels={"tier": "front", "app": "a"})
    second = await workloads.pod("second", labels={"tier": "front", "app": "b"})
    await second.stop()
    cri = workloads.cri
    ready = criv1.PodSandboxStateValue(state=criv1.SANDBOX_READY)
    assert {pod.id for pod in await listed(cri, label_selector={"tier": "front"})} == {first.id, second.id}
    assert [pod.id for pod in await listed(cri, label_selector={"tier": "front"}, state=ready)] == [first.id]
    assert [pod.id for pod in await listed(cri, label_selector={"tier": "front", "app": "b"})] == [second.id]
    assert not await listed(cri, id=first.id, label_selector={"app": "b"})
    assert not await listed(cri, id="no-such-sandbox")
    times = {pod.id: pod.created_at for pod in await listed(cri)}
    assert times[first.id] < times[second.id], "the kubelet sorts by creation time"


async def test_a_unique_prefix_of_the_id_is_enough(workloads: Workloads) -> None:
    pod = await workloads.pod()
    request = criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id[:12])
    assert (await workloads.cri.runtime.PodSandboxStatus(request)).status.id == pod.id
    assert [item.id for item in await listed(workloads.cri, id=pod.id[:12])] == [pod.id]


async def test_verbose_status_shows_the_process_and_the_runtime_spec(workloads: Workloads) -> None:
    pod = await workloads.pod()
    answer = await workloads.cri.runtime.PodSandboxStatus(
        criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
    )
    assert "pid" in answer.info["info"]
    assert "runtimeSpec" in answer.info["info"]


async def test_stop_and_remove_can_be_repeated(workloads: Workloads) -> None:
    pod = await workloads.pod()
    await pod.stop()
    await pod.stop()
    await pod.remove()
    await pod.remove()
    workloads.made.remove(pod)
    async with refused(grpc.StatusCode.NOT_FOUND):
        await pod.status()


async def test_removing_a_running_pod_takes_its_containers_along(workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    await pod.stop()
    assert (await container.status()).state == criv1.CONTAINER_EXITED
    await pod.remove()
    workloads.made.remove(pod)
    async with refused(grpc.StatusCode.NOT_FOUND):
        await container.status()


async def test_the_same_name_twice_is_refused_and_names_the_holder(workloads: Workloads) -> None:
    pod = await workloads.pod()
    async with refused(grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.UNKNOWN) as error:
        await workloads.pod_as(pod.config)
    assert pod.id in str(error[0].details())


async def test_a_name_is_free_again_after_removal(workloads: Workloads) -> None:
    pod = await workloads.pod()
    await workloads.remove([pod])
    again = await workloads.pod_as(pod.config)
    assert again.id != pod.id


@pytest.mark.cri_shim_only
async def test_a_retry_beside_the_first_attempt_gets_the_same_sandbox(workloads: Workloads) -> None:
    config = workloads.config()
    request = criv1.RunPodSandboxRequest(config=config)
    first, second = await asyncio.gather(
        workloads.cri.runtime.RunPodSandbox(request), workloads.cri.runtime.RunPodSandbox(request)
    )
    assert first.pod_sandbox_id == second.pod_sandbox_id
    await workloads.cri.runtime.RemovePodSandbox(
        criv1.RemovePodSandboxRequest(pod_sandbox_id=first.pod_sandbox_id)
    )


async def test_hostname_resolver_and_shared_memory_are_the_pods_own(workloads: Workloads) -> None:
    dns = criv1.DNSConfig(
        servers=["10.9.8.7", "10.9.8.6"], searches=["a.example", "b.example"], options=["ndots:5"]
    )
    pod = await workloads.pod("web", hostname="web-host", dns=dns)
    first, second = await pod.sleeper("first"), await pod.sleeper("second")
    assert await first.output_of("hostname") == "web-host"
    assert await first.output_of("cat /etc/resolv.conf") == (
        "search a.example b.example\nnameserver 10.9.8.7\nnameserver 10.9.8.6\noptions ndots:5"
    )
    await first.output_of("echo shared > /dev/shm/note")
    assert await second.output_of("cat /dev/shm/note") == "shared"
    assert not Path("/dev/shm/note").exists()


async def test_without_dns_settings_the_hosts_resolver_is_used(workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    assert await container.output_of("cat /etc/resolv.conf") == Path("/etc/resolv.conf").read_text().rstrip(
        "\n"
    )


async def test_a_host_network_pod_sees_the_hosts_interfaces(workloads: Workloads, node: Node) -> None:
    pod = await workloads.pod(host_network=True)
    container = await pod.sleeper()
    status = await pod.status()
    assert status.linux.namespaces.options.network == criv1.NODE
    assert status.network.ip == ""
    assert node.containerd.bridge in (await container.output_of("ls /sys/class/net")).split()
    assert await container.output_of("hostname") == Path("/proc/sys/kernel/hostname").read_text().strip()


async def test_processes_are_shared_in_a_pod_wide_pid_namespace(workloads: Workloads) -> None:
    pod = await workloads.pod(pid=criv1.POD)
    shared = criv1.LinuxContainerSecurityContext(namespace_options=criv1.NamespaceOption(pid=criv1.POD))
    await pod.sleeper("first", security=shared)
    second = await pod.sleeper("second", security=shared)
    assert "/pause" in await second.output_of("ps -o args")
    alone = await (await workloads.pod("alone")).sleeper()
    assert "/pause" not in await alone.output_of("ps -o args")


async def test_host_pid_and_ipc_namespaces(workloads: Workloads) -> None:
    pod = await workloads.pod(pid=criv1.NODE, ipc=criv1.NODE)
    options = criv1.NamespaceOption(pid=criv1.NODE, ipc=criv1.NODE)
    container = await pod.sleeper(security=criv1.LinuxContainerSecurityContext(namespace_options=options))
    for namespace in ("pid", "ipc"):
        host = Path(f"/proc/self/ns/{namespace}").readlink()
        assert await container.output_of(f"readlink /proc/self/ns/{namespace}") == str(host)


async def test_sysctls_are_set_in_the_pods_namespace_only(workloads: Workloads) -> None:
    name = "net/ipv4/ip_local_port_range"
    before = Path("/proc/sys", name).read_text()
    pod = await workloads.pod(sysctls={"net.ipv4.ip_local_port_range": "20000 30000"})
    container = await pod.sleeper()
    assert (await container.output_of(f"cat /proc/sys/{name}")).split() == ["20000", "30000"]
    assert Path("/proc/sys", name).read_text() == before


async def test_the_pods_processes_are_below_its_cgroup_parent(workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    request = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
    info = (await workloads.cri.runtime.ContainerStatus(request)).info["info"]
    process = int(info.split('"pid":')[1].split(",")[0])
    assert workloads.cgroup_parent in Path(f"/proc/{process}/cgroup").read_text()


async def test_an_unknown_runtime_handler_is_refused(workloads: Workloads) -> None:
    async with refused(
        grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN
    ) as error:
        await workloads.pod(runtime_handler="no-such-handler")
    assert "no-such-handler" in str(error[0].details())


async def test_the_named_handler_is_used_and_told(workloads: Workloads) -> None:
    pod = await workloads.pod(runtime_handler="runc")
    assert (await pod.status()).runtime_handler == "runc"
    assert [item.runtime_handler for item in await listed(workloads.cri, id=pod.id)] == ["runc"]


@pytest.mark.cri_shim_only
async def test_the_log_directory_is_made(workloads: Workloads) -> None:
    pod = await workloads.pod()
    assert Path(pod.config.log_directory).is_dir()


async def test_ten_pods_at_once(workloads: Workloads) -> None:
    pods = await asyncio.gather(*(workloads.pod(f"pod-{number}") for number in range(10)))
    addresses = await asyncio.gather(*(pod.address() for pod in pods))
    assert len(set(addresses)) == 10, "every pod has an address of its own"
    await asyncio.gather(*(pod.stop() for pod in pods))


async def test_a_dead_sandbox_process_makes_the_pod_not_ready(workloads: Workloads) -> None:
    pod = await workloads.pod(pid=criv1.POD)
    answer = await workloads.cri.runtime.PodSandboxStatus(
        criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
    )
    process = int(answer.info["info"].split('"pid":')[1].split(",")[0])
    assert process > 0, "not the process group of the tests"
    os.kill(process, signal.SIGKILL)
    await eventually(pod.status, lambda status: status.state == criv1.SANDBOX_NOTREADY, "NOTREADY")
