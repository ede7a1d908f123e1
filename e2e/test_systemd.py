"""The systemd cgroup driver: containers are scopes in the slice of their pod. For machines that systemd runs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.cgroup import control_value, process_of
from e2e.harness.configured import configured
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Pod, Workloads

MIB = 1 << 20
SLICE = "e2e-burstable-pod1.slice"
TABLE = """
[containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[containerd.runtimes.runc.options]
SystemdCgroup = true
"""

pytestmark = [
    pytest.mark.cri_shim_only,
    pytest.mark.skipif(not Path("/run/systemd/system").is_dir(), reason="systemd does not run this machine"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def driver(node: Node) -> AsyncIterator[None]:
    async with configured(node, tables=TABLE):
        yield


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads, driver: None) -> Pod:
    config = workloads.config()
    config.linux.cgroup_parent = SLICE
    return await workloads.pod_as(config)


def scopes() -> str:
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "cri-containerd-*"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_the_driver_is_told(node: Node, driver: None) -> None:
    answer = await node.cri.runtime.RuntimeConfig(criv1.RuntimeConfigRequest())
    assert answer.linux.cgroup_driver == criv1.SYSTEMD


async def test_a_container_is_a_scope_in_the_slice_of_its_pod(pod: Pod) -> None:
    container = await pod.sleeper(resources=criv1.LinuxContainerResources(memory_limit_in_bytes=64 * MIB))
    process = await process_of(container)
    place = f"/e2e.slice/e2e-burstable.slice/{SLICE}/cri-containerd-{container.id}.scope"
    assert place in Path(f"/proc/{process}/cgroup").read_text()
    assert control_value(process, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    await container.remove()

    async def listed() -> str:
        return scopes()

    await eventually(listed, lambda seen: container.id not in seen, "the scope gone")


async def test_updates_reach_scope_and_slice(pod: Pod) -> None:
    container = await pod.sleeper(resources=criv1.LinuxContainerResources(memory_limit_in_bytes=64 * MIB))
    process = await process_of(container)
    limits = criv1.LinuxContainerResources(
        memory_limit_in_bytes=48 * MIB, cpu_quota=20_000, cpu_period=100_000
    )
    await pod.cri.runtime.UpdateContainerResources(
        criv1.UpdateContainerResourcesRequest(container_id=container.id, linux=limits)
    )
    assert control_value(process, "memory", "memory.limit_in_bytes", "memory.max") == str(48 * MIB)
    await pod.cri.runtime.UpdatePodSandboxResources(
        criv1.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=pod.id,
            resources=criv1.LinuxContainerResources(memory_limit_in_bytes=100 * MIB, cpu_shares=512),
        )
    )
    above = control_value(process, "memory", "memory.limit_in_bytes", "memory.max", above=1)
    assert above == str(100 * MIB)


async def test_running_out_of_memory_is_seen_before_the_scope_goes(pod: Pod) -> None:
    limits = criv1.LinuxContainerResources(memory_limit_in_bytes=20 * MIB)
    script = "exec dd if=/dev/zero of=/dev/null bs=100M count=1"
    container = await pod.run(command=["sh", "-c", script], resources=limits)
    status = await container.exited()
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_a_parent_that_is_no_slice_is_refused(workloads: Workloads, driver: None) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await workloads.pod()
    assert "cgroup_parent" in str(error[0].details())
