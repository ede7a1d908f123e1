"""Pods that mounts hold: what is inside, which processes there are outside, and what becomes of both.

What holds for every pod is tested elsewhere, in whatever mode the node has; here it is about what could differ.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from api.wire import criv1
from cri.linux.mounts import unmount
from e2e.harness.cri import container_config, runtime_ready
from e2e.harness.eventually import eventually
from e2e.harness.reboot import reboot
from e2e.harness.server import CriShim
from e2e.harness.settings import SANDBOX_MODE

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

pytestmark = [
    pytest.mark.cri_shim_only,
    pytest.mark.skipif(SANDBOX_MODE != "auto", reason="E2E_SANDBOX_MODE gives every pod a pause container"),
]

SHARED_PID = criv1.LinuxContainerSecurityContext(namespace_options=criv1.NamespaceOption(pid=criv1.POD))
NAMESPACES = "cd /proc/self/ns && for name in ipc net uts; do readlink $name; done"


async def shims(node: Node) -> list[int]:
    """Pids of the shims of the node's containerd."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "containerd-shim" in words[0] and node.containerd.address in words:
            found.append(int(entry.name))
    return sorted(found)


async def info(node: Node, pod: Pod) -> dict[str, object]:
    request = criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
    answer = await node.cri.runtime.PodSandboxStatus(request)
    return cast("dict[str, object]", json.loads(answer.info["info"]))


def shim_server(node: Node) -> CriShim:
    assert isinstance(node.server, CriShim)
    return node.server


async def test_the_containers_of_a_pod_see_the_same_namespaces(node: Node, workloads: Workloads) -> None:
    sysctls = {"kernel.msgmax": "4097", "net.ipv4.ip_unprivileged_port_start": "81"}
    pod = await workloads.pod("inside", sysctls=sysctls)
    first, second = [await pod.sleeper(name) for name in ("first", "second")]
    seen = [(await each.output_of(NAMESPACES)).split() for each in (first, second)]
    assert seen[0] == seen[1]
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("ipc", "net", "uts")]
    assert not set(seen[0]) & set(host)
    told = cast("dict[str, str]", (await info(node, pod))["namespaces"])
    pinned = [f"{name}:[{os.stat(told[key]).st_ino}]" for name, key in
              (("ipc", "ipc"), ("net", "network"), ("uts", "uts"))]  # fmt: skip
    assert seen[0] == pinned
    assert await first.output_of("hostname") == "inside"
    assert await first.output_of("cat /proc/sys/kernel/msgmax") == "4097"
    assert await first.output_of("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "81"
    await first.output_of("echo shared > /dev/shm/x")
    assert await second.output_of("cat /dev/shm/x") == "shared"
    assert await first.output_of("ip link show lo | grep -c UP") == "1"
    assert "sleep" in await first.output_of("ps -o args")


async def test_one_shim_serves_a_pod_whichever_container_goes(node: Node, workloads: Workloads) -> None:
    before = await shims(node)

    async def new() -> list[int]:
        return sorted(set(await shims(node)) - set(before))

    pod = await workloads.pod()
    status = await info(node, pod)
    assert (status["pid"], status["heldBy"]) == (0, "mounts")
    assert await new() == [], "nothing runs for a pod without containers"
    first, second = [await pod.sleeper(name) for name in ("first", "second")]
    only = await new()
    assert len(only) == 1
    await first.stop()
    await first.remove()
    assert await second.output_of("echo still there") == "still there"
    third = await pod.sleeper("third")
    assert await new() == only, "the shim outlives the container that brought it"
    for each in (second, third):
        await each.stop()
        await each.remove()
    await eventually(new, lambda found: found == [], "the shim gone with the last task")
    late = await pod.sleeper("late")
    assert await late.output_of("hostname") == "pod"
    assert len(await new()) == 1


async def test_containers_that_follow_one_another_at_once(workloads: Workloads) -> None:
    """The next start may meet a shim that is about to end with the last task."""
    pod = await workloads.pod()
    ended: list[Container] = []
    for number in range(20):
        container = await pod.create(f"c{number}", command=["true"])
        await container.start()
        ended.append(container)
    for container in ended:
        assert (await container.exited()).exit_code == 0


async def test_a_container_that_is_started_again_and_again(workloads: Workloads) -> None:
    """As the kubelet does after each exit."""
    pod = await workloads.pod()
    for number in range(10):
        container = await pod.create("again", command=["true"], attempt=number)
        await container.start()
        assert (await container.exited()).exit_code == 0


async def test_containers_that_start_at_once_share_a_shim(node: Node, workloads: Workloads) -> None:
    before = await shims(node)
    pod = await workloads.pod()
    made = [await pod.create(f"c{number}", command=["sleep", "100"]) for number in range(4)]
    await asyncio.gather(*(each.start() for each in made))
    assert len(set(await shims(node)) - set(before)) == 1
    for each in made:
        assert await each.output_of("hostname") == "pod"


async def test_a_shared_pid_namespace_still_has_a_process(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod(pid=criv1.POD)
    status = await info(node, pod)
    assert status["heldBy"] == "process"
    assert status["pid"]


async def test_a_privileged_container_after_another_can_write_sys(workloads: Workloads) -> None:
    """The first sysfs of a network namespace decides for all that follow."""
    pod = await workloads.pod(privileged=True)
    await pod.sleeper("plain")
    options = criv1.NamespaceOption(pid=criv1.CONTAINER)
    security = criv1.LinuxContainerSecurityContext(privileged=True, namespace_options=options)
    privileged = await pod.sleeper("privileged", security=security)
    await privileged.output_of("echo named > /sys/class/net/lo/ifalias")
    assert await privileged.output_of("cat /sys/class/net/lo/ifalias") == "named"


async def test_a_killed_server_and_a_new_containerd_find_everything(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod("kept")
    first, second = [await pod.sleeper(name) for name in ("first", "second")]
    await first.stop()
    await first.remove()
    address = await pod.address()
    await shim_server(node).kill()
    await shim_server(node).start()
    assert (await pod.status()).state == criv1.SANDBOX_READY
    assert await pod.address() == address
    assert await second.output_of("hostname") == "kept"
    await node.containerd.stop()
    await node.containerd.start()
    await eventually(lambda: runtime_ready(node.cri), bool, "RuntimeReady")
    assert await second.output_of("hostname") == "kept"
    third = await pod.sleeper("third")
    assert await third.output_of("hostname") == "kept"


async def test_a_namespace_that_somebody_unmounts_makes_the_pod_not_ready(
    node: Node, workloads: Workloads
) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    told = cast("dict[str, str]", (await info(node, pod))["namespaces"])
    unmount(Path(told["uts"]))
    await eventually(pod.status, lambda status: status.state == criv1.SANDBOX_NOTREADY, "NOTREADY")
    assert (await container.status()).state == criv1.CONTAINER_RUNNING
    with pytest.raises(Exception, match="not ready"):
        await pod.sleeper("more")


async def test_pods_of_the_boot_before_are_not_ready_and_can_be_removed(
    node: Node, workloads: Workloads
) -> None:
    pods = [await workloads.pod("rebooted"), await workloads.pod("on-host", host_network=True)]
    await shim_server(node).stop()
    await reboot(node, pods)
    await shim_server(node).start()
    for pod in pods:
        assert (await pod.status()).state == criv1.SANDBOX_NOTREADY


async def test_an_empty_pod_is_measured(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod()
    request = criv1.PodSandboxStatsRequest(pod_sandbox_id=pod.id)
    stats = (await node.cri.runtime.PodSandboxStats(request)).stats
    assert stats.linux.network.default_interface.name == "eth0"
    assert stats.linux.process.process_count.value == 0
    busy = await pod.sleeper()
    await busy.output_of("ping -c 1 127.0.0.1 || true")
    stats = (await node.cri.runtime.PodSandboxStats(request)).stats
    assert stats.linux.process.process_count.value >= 1
    assert stats.linux.memory.working_set_bytes.value > 0


async def test_a_pid_namespace_that_there_is_not_cannot_be_joined(workloads: Workloads) -> None:
    pod = await workloads.pod()
    config = container_config("main", pod.image, security=SHARED_PID)
    with pytest.raises(Exception, match=r"namespace_options\.pid"):
        await pod.create_as(config)
