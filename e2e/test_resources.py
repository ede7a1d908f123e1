"""Limits of containers and pods: what the kernel has in force, before and after updates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from cri.linux.cgroups import controllers
from e2e.harness.cgroup import cgroup_version, control_value, process_of
from e2e.harness.configured import configured
from e2e.harness.cri import refused
from e2e.harness.node import remove_cgroups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

MIB = 1 << 20
MEMORY_LIMIT = ("memory", "memory.limit_in_bytes", "memory.max")
SHARES_OR_WEIGHT = ("cpu", "cpu.shares", "cpu.weight")
SWAP_LIMIT = ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
QUOTA = ("cpu", "cpu.cfs_quota_us", "cpu.max")
HUGE_PAGES = ("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")
CPUS = ("cpuset", "cpuset.cpus", "cpuset.cpus")

pytestmark = pytest.mark.cri_shim_only


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


@pytest_asyncio.fixture(loop_scope="session")
async def other_parent(workloads: Workloads) -> AsyncIterator[str]:
    """A cgroup for one pod, of a client that is not the kubelet."""
    parent = f"{workloads.cgroup_parent}/others"
    yield parent
    await workloads.remove()
    remove_cgroups(parent)


@pytest_asyncio.fixture(loop_scope="session")
async def kubelets_parent(workloads: Workloads) -> AsyncIterator[str]:
    """A cgroup for one pod as the kubelet names it."""
    yield f"{workloads.cgroup_parent}/kubepods/burstable/pod1"
    await workloads.remove()
    remove_cgroups(f"{workloads.cgroup_parent}/kubepods")


async def update(container: Container, **limits: object) -> None:
    resources = criv1.LinuxContainerResources(**limits)  # type: ignore[arg-type]
    await container.cri.runtime.UpdateContainerResources(
        criv1.UpdateContainerResourcesRequest(container_id=container.id, linux=resources)
    )


async def update_pod(pod: Pod, **fields: criv1.LinuxContainerResources) -> None:
    await pod.cri.runtime.UpdatePodSandboxResources(
        criv1.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod.id, **fields)
    )


async def test_an_update_of_a_created_container_is_in_force_when_it_starts(pod: Pod) -> None:
    limits = criv1.LinuxContainerResources(memory_limit_in_bytes=64 * MIB, cpu_shares=300)
    container = await pod.create(command=["sleep", "1000"], resources=limits)
    await update(container, memory_limit_in_bytes=48 * MIB)
    assert (await container.status()).resources.linux.memory_limit_in_bytes == 48 * MIB
    await container.start()
    process = await process_of(container)
    assert control_value(process, *MEMORY_LIMIT) == str(48 * MIB)
    assert (await container.status()).resources.linux.cpu_shares == 300


async def test_the_processors_of_a_running_container_change(pod: Pod) -> None:
    container = await pod.sleeper(resources=criv1.LinuxContainerResources(cpuset_cpus="0-1"))
    await update(container, cpuset_cpus="0")
    process = await process_of(container)
    assert control_value(process, *CPUS) == "0"
    assert "Cpus_allowed_list:\t0\n" in await container.output_of("cat /proc/1/status") + "\n"


async def test_a_limit_that_the_kernel_refuses_changes_nothing(pod: Pod) -> None:
    limits = criv1.LinuxContainerResources(
        memory_limit_in_bytes=64 * MIB, cpu_quota=50_000, cpu_period=100_000
    )
    script = "dd if=/dev/zero of=/dev/shm/held bs=1M count=20; exec sleep 1000"
    container = await pod.run(command=["sh", "-c", script], resources=limits)
    await container.until_process("sleep 1000", runs=True)
    process = await process_of(container)
    if cgroup_version() == 2:
        pytest.skip("version 2 accepts a limit below the usage and reclaims or kills")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION) as error:
        await update(container, memory_limit_in_bytes=4 * MIB, cpu_quota=20_000)
    assert "stay as they were" in str(error[0].details())
    assert control_value(process, *MEMORY_LIMIT) == str(64 * MIB)
    assert control_value(process, *QUOTA).split()[0] == "50000"
    told = (await container.status()).resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_quota) == (64 * MIB, 50_000)


async def test_swap_is_what_the_two_limits_leave(pod: Pod) -> None:
    limits = criv1.LinuxContainerResources(
        memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=96 * MIB
    )
    process = await process_of(await pod.sleeper("some", resources=limits))
    if not accounts_swap(process):
        pytest.skip("this kernel does not account swap")
    unified = cgroup_version() == 2
    assert control_value(process, *SWAP_LIMIT) == str((32 if unified else 96) * MIB)
    limits.ClearField("memory_swap_limit_in_bytes")
    process = await process_of(await pod.sleeper("none", resources=limits))
    assert control_value(process, *SWAP_LIMIT) == str((0 if unified else 64) * MIB)


def accounts_swap(process: int) -> bool:
    try:
        return bool(control_value(process, *SWAP_LIMIT))
    except FileNotFoundError:
        return False


async def test_huge_pages_are_limited_or_refused(workloads: Workloads, node: Node) -> None:
    keys = "disable_hugetlb_controller = false\ntolerate_missing_hugetlb_controller = false\n"
    limits = criv1.LinuxContainerResources(
        hugepage_limits=[criv1.HugepageLimit(page_size="2MB", limit=4 * MIB)]
    )
    async with configured(node, keys=keys):
        pod = await workloads.pod()
        if "hugetlb" in controllers():
            process = await process_of(await pod.sleeper("limited", resources=limits))
            assert control_value(process, *HUGE_PAGES) == str(4 * MIB)
            limits.hugepage_limits[0].page_size = "3MB"
        async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
            await pod.create(resources=limits)
        assert "hugepage_limits" in str(error[0].details())
        await workloads.remove()
    pod = await workloads.pod()
    limits.hugepage_limits[0].page_size = "2MB"
    await pod.sleeper(resources=limits)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"cpu_shares": 1}, "cpu_shares"),
        ({"cpu_period": 10}, "cpu_period"),
        ({"cpuset_cpus": "4095"}, "cpuset_cpus"),
        ({"memory_limit_in_bytes": -5}, "memory_limit_in_bytes"),
    ],
)
async def test_impossible_limits_are_named(pod: Pod, limits: dict[str, object], named: str) -> None:
    container = await pod.sleeper()
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await update(container, **limits)
    assert named in str(error[0].details())


async def test_an_ended_container_is_not_updated(pod: Pod) -> None:
    container = await pod.run(command=["true"])
    await container.exited()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await update(container, memory_limit_in_bytes=64 * MIB)
    await container.remove()
    async with refused(grpc.StatusCode.NOT_FOUND):
        await update(container, memory_limit_in_bytes=64 * MIB)


async def test_updated_limits_survive_a_restart_of_the_server(pod: Pod, node: Node) -> None:
    container = await pod.sleeper(resources=criv1.LinuxContainerResources(memory_limit_in_bytes=64 * MIB))
    await update(container, memory_limit_in_bytes=96 * MIB)
    await node.server.stop()
    await node.server.start()
    assert (await container.status()).resources.linux.memory_limit_in_bytes == 96 * MIB


async def test_the_cgroup_of_a_pod_is_updated(workloads: Workloads, other_parent: str) -> None:
    config = workloads.config()
    config.linux.cgroup_parent = other_parent
    pod = await workloads.pod_as(config)
    container = await pod.sleeper()
    process = await process_of(container)
    await update_pod(
        pod,
        resources=criv1.LinuxContainerResources(
            memory_limit_in_bytes=100 * MIB, cpu_shares=512, cpu_quota=80_000, cpu_period=100_000
        ),
        overhead=criv1.LinuxContainerResources(memory_limit_in_bytes=28 * MIB, cpu_shares=100),
    )
    assert control_value(process, *MEMORY_LIMIT, above=1) == str(128 * MIB)
    assert control_value(process, *QUOTA, above=1).split()[0] == "80000"
    assert control_value(process, *SHARES_OR_WEIGHT, above=1) in ("612", "24")
    await update_pod(pod, resources=criv1.LinuxContainerResources(memory_limit_in_bytes=72 * MIB))
    assert control_value(process, *MEMORY_LIMIT, above=1) == str(100 * MIB), "the overhead stays"


async def test_no_limit_is_forced_upon_a_pod_of_the_kubelet(
    workloads: Workloads, kubelets_parent: str
) -> None:
    """The kubelet's sum over the limits that there are is no limit of a pod that has an unlimited container."""
    config = workloads.config()
    config.linux.cgroup_parent = kubelets_parent
    pod = await workloads.pod_as(config)
    process = await process_of(await pod.sleeper())
    unlimited = control_value(process, *MEMORY_LIMIT, above=1)
    await update_pod(
        pod, resources=criv1.LinuxContainerResources(memory_limit_in_bytes=100 * MIB, cpu_shares=512)
    )
    assert control_value(process, *MEMORY_LIMIT, above=1) == unlimited
    assert control_value(process, *SHARES_OR_WEIGHT, above=1) in ("512", "20")


async def test_a_stopped_pod_is_not_updated(pod: Pod) -> None:
    await pod.stop()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await update_pod(pod, resources=criv1.LinuxContainerResources(cpu_shares=512))


async def test_containers_are_below_the_cgroup_of_their_pod(workloads: Workloads) -> None:
    pod = await workloads.pod()
    process = await process_of(await pod.sleeper())
    paths = {line.split(":", 2)[2] for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()}
    assert any(path.startswith(f"{workloads.cgroup_parent}/") for path in paths), f"found in {paths}"


async def test_files_of_version_2_are_set_as_they_are_or_refused(pod: Pod) -> None:
    limits = criv1.LinuxContainerResources(unified={"memory.high": str(32 * MIB)})
    if cgroup_version() == 2:
        process = await process_of(await pod.sleeper(resources=limits))
        assert control_value(process, "memory", "", "memory.high") == str(32 * MIB)
        return
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(resources=limits)
    assert "unified" in str(error[0].details())
