"""Stats and metrics against what the kernel itself says, of containers that do a known amount of work."""

from __future__ import annotations

import asyncio
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.cgroup import cgroup_version, control_value, process_of
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually
from e2e.harness.node import remove_cgroups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

MEBIBYTE = 1 << 20
HALF_A_CORE = criv1.LinuxContainerResources(
    cpu_period=100_000, cpu_quota=50_000, cpu_shares=512, memory_limit_in_bytes=256 * MEBIBYTE
)
HOLDS_64_MB = "(head -c 67108864 /dev/zero; sleep 1000) | tail -n 1 >/dev/null"

pytestmark = pytest.mark.cri_shim_only


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


async def stats_of(container: Container) -> criv1.ContainerStats:
    request = criv1.ContainerStatsRequest(container_id=container.id)
    return (await container.cri.runtime.ContainerStats(request)).stats


async def holding_64_mb(container: Container) -> criv1.ContainerStats:
    """Wait until the container has faulted in what it is to hold."""
    return await eventually(
        lambda: stats_of(container), lambda each: each.memory.rss_bytes.value > 60 * MEBIBYTE, "64 MiB held"
    )


async def pod_stats_of(pod: Pod) -> criv1.PodSandboxStats:
    request = criv1.PodSandboxStatsRequest(pod_sandbox_id=pod.id)
    return (await pod.cri.runtime.PodSandboxStats(request)).stats


async def control_file(
    container: Container, controller: str, first: str, second: str, *, above: int = 0
) -> str:
    """A file of the container's cgroup, or of one above it, found without the server's help."""
    return control_value(await process_of(container), controller, first, second, above=above)


async def processor_time(container: Container) -> int:
    """Nanoseconds, as the kernel counts them."""
    counted = await control_file(container, "cpuacct", "cpuacct.usage", "cpu.stat")
    return int(counted.split()[1]) * 1000 if cgroup_version() == 2 else int(counted)


async def metrics_of(cri: Cri, pod: Pod) -> tuple[list[criv1.Metric], list[criv1.Metric]]:
    """A pod's own samples, and those of its containers."""
    answer = await cri.runtime.ListPodSandboxMetrics(criv1.ListPodSandboxMetricsRequest())
    found = next(each for each in answer.pod_metrics if each.pod_sandbox_id == pod.id)
    return list(found.metrics), [metric for each in found.container_metrics for metric in each.metrics]


async def test_processor_time_is_the_kernels(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", "while :; do :; done"], resources=HALF_A_CORE)
    await asyncio.sleep(2)
    before = await processor_time(container)
    first = await stats_of(container)
    after = await processor_time(container)
    assert before <= first.cpu.usage_core_nano_seconds.value <= after
    await asyncio.sleep(3)
    second = await stats_of(container)
    span = second.cpu.timestamp - first.cpu.timestamp
    used = second.cpu.usage_core_nano_seconds.value - first.cpu.usage_core_nano_seconds.value
    share = used / span
    assert share < 0.6, f"the quota is half a processor, {share:.2f} was used"
    rate = second.cpu.usage_nano_cores.value / 1e9
    assert abs(rate - share) < 0.15, f"{rate:.2f} processors of late, {share:.2f} between two readings"


async def test_memory_held_is_in_the_working_set(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", HOLDS_64_MB], resources=HALF_A_CORE)
    stats = await holding_64_mb(container)
    memory = stats.memory
    assert 60 * MEBIBYTE < memory.rss_bytes.value < 80 * MEBIBYTE
    assert memory.rss_bytes.value <= memory.working_set_bytes.value <= memory.usage_bytes.value
    assert memory.available_bytes.value == 256 * MEBIBYTE - memory.working_set_bytes.value
    kernel = int(await control_file(container, "memory", "memory.usage_in_bytes", "memory.current"))
    assert abs(memory.usage_bytes.value - kernel) < 4 * MEBIBYTE
    assert memory.page_faults.value > 64 * MEBIBYTE / 4096 / 512, "holding memory means faulting it in"
    assert stats.swap.swap_usage_bytes.value == 0


async def test_page_cache_is_not_in_the_working_set(pod: Pod) -> None:
    container = await pod.sleeper()
    await container.output_of("dd if=/dev/zero of=/cached bs=1M count=32 && sync")
    memory = (await stats_of(container)).memory
    assert memory.usage_bytes.value > 32 * MEBIBYTE
    assert memory.working_set_bytes.value < memory.usage_bytes.value - 16 * MEBIBYTE


async def test_what_is_written_is_in_the_writable_layer(pod: Pod) -> None:
    container = await pod.sleeper()
    await container.output_of("mkdir /written && dd if=/dev/zero of=/written/file bs=1M count=10 && sync")
    stats = await stats_of(container)
    assert 10 * MEBIBYTE <= stats.writable_layer.used_bytes.value < 11 * MEBIBYTE
    assert 2 <= stats.writable_layer.inodes_used.value <= 10
    assert stats.writable_layer.timestamp > stats.attributes.metadata.attempt
    assert Path(stats.writable_layer.fs_id.mountpoint).is_dir()


async def test_traffic_is_the_interfaces(pod: Pod) -> None:
    container = await pod.sleeper()
    received = asyncio.Event()
    amounts: list[int] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        amounts.append(len(await reader.read(-1)))
        writer.close()
        received.set()

    gateway = (await container.output_of("ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'")).strip()
    server = await asyncio.start_server(swallow, gateway, 0)
    port = server.sockets[0].getsockname()[1]
    before = (await pod_stats_of(pod)).linux.network.default_interface
    await container.output_of(f"dd if=/dev/zero bs=1024 count=1024 2>/dev/null | nc {gateway} {port}")
    await asyncio.wait_for(received.wait(), 10)
    server.close()
    await asyncio.sleep(0.5)  # a reading may be shared for less than that
    network = (await pod_stats_of(pod)).linux.network
    sent = network.default_interface.tx_bytes.value - before.tx_bytes.value
    assert sum(amounts) == MEBIBYTE
    assert MEBIBYTE < sent < 1.3 * MEBIBYTE, f"{sent} bytes for 1 MiB of payload"
    assert network.default_interface.name == "eth0"
    assert not network.interfaces, "the default interface is not listed twice, loopback not at all"
    counted = Path(f"/proc/{await process_of(container)}/net/dev").read_text()
    transmitted = re.search(r"eth0:(?:\s+\d+){8}\s+(\d+)", counted)
    assert transmitted is not None
    assert int(transmitted.group(1)) >= network.default_interface.tx_bytes.value


async def test_a_pod_is_the_sum_of_its_containers(pod: Pod) -> None:
    first = await pod.run("one", command=["sh", "-c", HOLDS_64_MB])
    await pod.sleeper("two")
    await holding_64_mb(first)
    await asyncio.sleep(0.5)
    linux = (await pod_stats_of(pod)).linux
    assert {each.attributes.metadata.name for each in linux.containers} == {"one", "two"}
    containers = sum(each.memory.working_set_bytes.value for each in linux.containers)
    assert containers <= linux.memory.working_set_bytes.value < containers + 16 * MEBIBYTE
    assert linux.cpu.usage_core_nano_seconds.value >= sum(
        each.cpu.usage_core_nano_seconds.value for each in linux.containers
    )
    assert linux.process.process_count.value >= 5, "a pause, two shells and what they run"


@pytest.fixture
def own_parent(node: Node, nothing_left: None) -> Iterator[tuple[str, str]]:
    """A pod's UID and a cgroup parent named after it, as the kubelet makes one for each pod."""
    uid = str(uuid.uuid4())
    parent = f"{node.cgroup_parent}/pod{uid}"
    yield uid, parent
    remove_cgroups(parent)


async def test_a_pod_with_a_cgroup_of_its_own_is_that_cgroup(
    own_parent: tuple[str, str], workloads: Workloads
) -> None:
    uid, parent = own_parent
    config = workloads.config("owner", uid=uid)
    config.linux.cgroup_parent = parent
    pod = await workloads.pod_as(config)
    container = await pod.sleeper()
    await container.until_process("sleep 1000", runs=True)  # before, runc's own memory is counted there
    linux = (await pod_stats_of(pod)).linux
    usage = await control_file(container, "memory", "memory.usage_in_bytes", "memory.current", above=1)
    assert abs(linux.memory.usage_bytes.value - int(usage)) < 2 * MEBIBYTE
    assert linux.process.process_count.value == int(
        await control_file(container, "pids", "pids.current", "pids.current", above=1)
    )


async def test_lists_show_what_runs_and_what_is_asked_for(cri: Cri, pod: Pod) -> None:
    running = await pod.sleeper("running", labels={"tier": "front"})
    ended = await pod.run("ended", command=["true"], labels={"tier": "front"})
    await ended.exited()

    async def listed(**criteria: object) -> list[str]:
        request = criv1.ListContainerStatsRequest(filter=criv1.ContainerStatsFilter(**criteria))  # type: ignore[arg-type]
        return [each.attributes.id for each in (await cri.runtime.ListContainerStats(request)).stats]

    assert await listed(pod_sandbox_id=pod.id) == [running.id], "only what runs is listed"
    assert await listed(label_selector={"tier": "front"}) == [running.id]
    assert await listed(label_selector={"tier": "back"}) == []
    assert await listed(id=running.id[:20]) == [running.id]
    assert await listed(id=ended.id) == []
    assert not (await stats_of(ended)).HasField("cpu"), "an ended container uses disk only"
    async with refused(grpc.StatusCode.NOT_FOUND):
        await cri.runtime.ContainerStats(criv1.ContainerStatsRequest(container_id="f" * 64))


async def test_the_list_never_fails_while_containers_die(cri: Cri, pod: Pod) -> None:
    lasting = await pod.sleeper("lasting")

    async def churn() -> None:
        for number in range(6):
            container = await pod.run(f"short-{number}", command=["true"])
            await container.exited()
            await container.remove()

    async with asyncio.TaskGroup() as group:
        churning = group.create_task(churn())
        while not churning.done():
            answer = await cri.runtime.ListContainerStats(criv1.ListContainerStatsRequest())
            assert lasting.id in [each.attributes.id for each in answer.stats]
            await cri.runtime.ListPodSandboxMetrics(criv1.ListPodSandboxMetricsRequest())


async def test_every_metric_is_declared_and_live(cri: Cri, pod: Pod) -> None:
    script = f"dd if=/dev/zero of=/file bs=1M count=8 && sync && touch /written && {HOLDS_64_MB}"
    container = await pod.run(command=["sh", "-c", script], resources=HALF_A_CORE)
    # The writable layer is measured rarely, for the first time with the first stats: not before the file is there.
    await container.output_of("until test -e /written; do :; done")
    await holding_64_mb(container)
    await asyncio.sleep(0.5)
    answer = await cri.runtime.ListMetricDescriptors(criv1.ListMetricDescriptorsRequest())
    declared = {each.name: each for each in answer.descriptors}
    assert len(declared) == 56
    assert all(each.help and each.label_keys for each in declared.values())
    own, containers = await metrics_of(cri, pod)
    for sample in [*own, *containers]:
        assert len(sample.label_values) == len(declared[sample.name].label_keys), sample.name
        assert sample.timestamp, sample.name
    have = {sample.name for sample in [*own, *containers]}
    without_controller = {name for name in declared if "hugetlb" in name or "pressure" in name}
    without_disk = {name for name in declared if re.search("fs_(reads|writes)|blkio", name)}
    missing = declared.keys() - have - without_controller - without_disk
    assert not missing, f"no values for {sorted(missing)}"
    values = {sample.name: sample.value.value for sample in containers}
    assert values["container_memory_rss"] > 60 * MEBIBYTE
    assert values["container_spec_memory_limit_bytes"] == 256 * MEBIBYTE
    assert (values["container_spec_cpu_quota"], values["container_spec_cpu_period"]) == (50_000, 100_000)
    assert values["container_fs_usage_bytes"] >= 8 * MEBIBYTE
    assert values["container_processes"] >= 3
    assert values["container_file_descriptors"] >= 9


async def test_metrics_carry_the_labels_that_cadvisor_gave_them(cri: Cri, pod: Pod) -> None:
    container = await pod.sleeper()
    answer = await cri.runtime.ListMetricDescriptors(criv1.ListMetricDescriptorsRequest())
    keys = {each.name: list(each.label_keys) for each in answer.descriptors}
    own, containers = await metrics_of(cri, pod)

    def labels(samples: list[criv1.Metric], name: str) -> dict[str, str]:
        sample = next(each for each in samples if each.name == name)
        return dict(zip(keys[name], sample.label_values, strict=True))

    of_container = labels(containers, "container_cpu_usage_seconds_total")
    assert of_container["container"] == "main"
    assert of_container["pod"] == pod.config.metadata.name
    assert of_container["namespace"] == pod.config.metadata.namespace
    assert (of_container["name"], of_container["cpu"]) == (container.id, "total")
    assert of_container["image"] == container.config.image.image
    of_pod = labels(own, "container_network_receive_bytes_total")
    assert (of_pod["container"], of_pod["name"], of_pod["interface"]) == ("", pod.id, "eth0")


@pytest_asyncio.fixture(loop_scope="session")
async def several(workloads: Workloads) -> AsyncIterator[list[Container]]:
    made = []
    for number in range(3):
        pod = await workloads.pod(f"several-{number}")
        made.append(await pod.sleeper())
    yield made


async def test_streamed_lists_have_every_item_once(cri: Cri, several: list[Container]) -> None:
    runtime, image = cri.runtime, cri.image
    containers = {container.id for container in several}
    pods = {container.pod.id for container in several}
    streamed = [
        each.id
        async for answer in runtime.StreamContainers(criv1.StreamContainersRequest())
        for each in answer.containers
    ]
    assert containers <= set(streamed)
    assert len(streamed) == len(set(streamed))
    sandboxes = [
        each.id
        async for answer in runtime.StreamPodSandboxes(criv1.StreamPodSandboxesRequest())
        for each in answer.pod_sandboxes
    ]
    assert pods <= set(sandboxes)
    stats = [
        each.attributes.id
        async for answer in runtime.StreamContainerStats(criv1.StreamContainerStatsRequest())
        for each in answer.container_stats
    ]
    assert containers <= set(stats)
    pod_stats = [
        each.attributes.id
        async for answer in runtime.StreamPodSandboxStats(criv1.StreamPodSandboxStatsRequest())
        for each in answer.pod_sandbox_stats
    ]
    assert pods <= set(pod_stats)
    metrics = [
        each.pod_sandbox_id
        async for answer in runtime.StreamPodSandboxMetrics(criv1.StreamPodSandboxMetricsRequest())
        for each in answer.pod_sandbox_metrics
    ]
    assert pods <= set(metrics)
    images = [
        each.id async for answer in image.StreamImages(criv1.StreamImagesRequest()) for each in answer.images
    ]
    listed = await image.ListImages(criv1.ListImagesRequest())
    assert images == [each.id for each in listed.images]


async def test_an_empty_list_is_an_empty_stream(cri: Cri) -> None:
    wanted = criv1.ContainerFilter(label_selector={"no": "such"})
    stream = cri.runtime.StreamContainers(criv1.StreamContainersRequest(filter=wanted))
    assert [answer async for answer in stream] == []
