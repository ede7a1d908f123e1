"""What the configuration of pod and node makes of a sandbox: kernel parameters, base specs, annotations, security."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from cri.oci.defaults import default_spec
from e2e.harness.configured import configured
from e2e.harness.cri import refused

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

pytestmark = pytest.mark.cri_shim_only


async def runtime_spec(container: Container) -> dict:
    request = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
    answer = await container.cri.runtime.ContainerStatus(request)
    return json.loads(answer.info["info"])["runtimeSpec"]


async def sandbox_info(pod: Pod) -> dict:
    request = criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
    return json.loads((await pod.cri.runtime.PodSandboxStatus(request)).info["info"])


async def test_unprivileged_users_may_bind_low_ports_and_ping(workloads: Workloads) -> None:
    pod = await workloads.pod()
    security = criv1.LinuxContainerSecurityContext(run_as_user=criv1.Int64Value(value=1000))
    container = await pod.sleeper(security=security)
    assert await container.output_of("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert await container.output_of("cat /proc/sys/net/ipv4/ping_group_range") == "0\t2147483647"
    await container.output_of("nc -l -p 80 & sleep 0.2; kill $!")


async def test_the_conveniences_can_be_switched_off_and_overridden(workloads: Workloads, node: Node) -> None:
    keys = "enable_unprivileged_ports = false\nenable_unprivileged_icmp = false\n"
    async with configured(node, keys=keys):
        container = await (await workloads.pod("off")).sleeper()
        assert await container.output_of("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "1024"
    pod = await workloads.pod("own", sysctls={"net.ipv4.ip_unprivileged_port_start": "443"})
    container = await pod.sleeper()
    assert await container.output_of("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "443"


@pytest.mark.parametrize("separated", [".", "/"])
async def test_parameters_of_ipc_and_network(workloads: Workloads, separated: str) -> None:
    names = {"kernel.shm_rmid_forced": "1", "kernel.msgmax": "16384", "net.core.somaxconn": "321"}
    pod = await workloads.pod(sysctls={name.replace(".", separated): value for name, value in names.items()})
    container = await pod.sleeper()
    for name, value in names.items():
        assert await container.output_of(f"cat /proc/sys/{name.replace('.', '/')}") == value


@pytest.mark.parametrize(
    ("sysctls", "settings"),
    [
        ({"kernel.panic": "1"}, {}),
        ({"vm.swappiness": "1"}, {}),
        ({"net.core.somaxconn": "321"}, {"host_network": True}),
        ({"kernel.shm_rmid_forced": "1"}, {"ipc": criv1.NODE}),
        ({"../kernel.panic": "1"}, {}),
    ],
)
async def test_parameters_of_the_host_are_refused(
    workloads: Workloads, sysctls: dict[str, str], settings: dict[str, object]
) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await workloads.pod(sysctls=sysctls, **settings)
    assert "sysctls" in str(error[0].details())


async def test_a_base_spec_and_annotations_let_through(
    workloads: Workloads, node: Node, tmp_path: Path
) -> None:
    spec = default_spec()
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 4321, "soft": 1234}]
    spec["process"]["env"] = ["FROM_BASE=yes"]
    (tmp_path / "base.json").write_text(json.dumps(spec))
    table = f"""
[containerd.runtimes.special]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = {json.dumps(str(tmp_path / "base.json"))}
pod_annotations = ["vm.test/*", "exact"]
container_annotations = ["container.test/a*"]
"""
    async with configured(node, tables=table):
        pod = await workloads.pod(
            "special", "special", annotations={"vm.test/cpu": "2", "exact": "1", "vm.test/deep/er": "no"}
        )
        container = await pod.sleeper(
            annotations={
                "container.test/abc": "in",
                "container.test/b": "out",
                "io.kubernetes.cri.sandbox-id": "no",
            }
        )
        assert await container.output_of("echo $FROM_BASE") == "yes"
        # Of the container's process: Debian 12's runc, of Go 1.19, may raise the soft limit of one that it adds.
        limits = await container.output_of("grep 'Max open files' /proc/1/limits")
        assert limits.split()[3:5] == ["1234", "4321"], limits
        found = (await runtime_spec(container))["annotations"]
        assert {"vm.test/cpu": "2", "exact": "1", "container.test/abc": "in"}.items() <= found.items()
        assert found["io.kubernetes.cri.sandbox-id"] == pod.id
        assert not {"vm.test/deep/er", "container.test/b"} & set(found)
        told = await container.status()
        assert told.annotations["container.test/b"] == "out", "what is asked comes back whole"


async def test_agents_find_pod_and_container_by_annotations(workloads: Workloads) -> None:
    pod = await workloads.pod("named")
    container = await pod.sleeper("worker")
    found = (await runtime_spec(container))["annotations"]
    assert found["io.kubernetes.cri.container-type"] == "container"
    assert found["io.kubernetes.cri.container-name"] == "worker"
    assert found["io.kubernetes.cri.sandbox-name"] == "named"
    sandbox = (await sandbox_info(pod))["runtimeSpec"]["annotations"]
    assert sandbox["io.kubernetes.cri.container-type"] == "sandbox"
    assert sandbox["io.kubernetes.cri.sandbox-uid"] == pod.config.metadata.uid


async def test_resources_of_the_pod_are_annotated_for_virtual_machines(workloads: Workloads) -> None:
    config = workloads.config()
    config.linux.resources.CopyFrom(
        criv1.LinuxContainerResources(
            cpu_period=100_000, cpu_quota=50_000, cpu_shares=512, memory_limit_in_bytes=4096
        )
    )
    pod = await workloads.pod_as(config)
    found = (await sandbox_info(pod))["runtimeSpec"]["annotations"]
    assert found["io.kubernetes.cri.sandbox-memory"] == "4096"
    assert found["io.kubernetes.cri.sandbox-cpu-quota"] == "50000"


async def test_the_sandbox_process_is_confined(workloads: Workloads) -> None:
    config = workloads.config(pid=criv1.POD)
    context = config.linux.security_context
    context.run_as_user.value, context.run_as_group.value = 1000, 33
    context.supplemental_groups.append(1234)
    context.seccomp.profile_type = criv1.SecurityProfile.RuntimeDefault
    pod = await workloads.pod_as(config)
    status = Path(f"/proc/{(await sandbox_info(pod))['pid']}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (lines["Uid"].split()[0], lines["Gid"].split()[0]) == ("1000", "33")
    assert "1234" in lines["Groups"].split()
    assert (lines["Seccomp"], lines["NoNewPrivs"]) == ("2", "1")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: setattr(config, "hostname", "x" * 65), "hostname"),
        (lambda config: setattr(config, "log_directory", "relative"), "log_directory"),
        (lambda config: setattr(config.linux, "cgroup_parent", "/a/../b"), "cgroup_parent"),
        (lambda config: setattr(config.linux, "cgroup_parent", "kubepods-pod1.slice"), "cgroup_parent"),
        (lambda config: config.dns_config.servers.append("two words"), "dns_config"),
        (lambda config: setattr(config.linux.security_context.namespace_options, "pid", 3), "pid"),
        (
            lambda config: config.linux.security_context.run_as_group.CopyFrom(criv1.Int64Value(value=1)),
            "run_as_group",
        ),
    ],
    ids=["hostname", "log directory", "parent", "slice", "resolver", "target", "group"],
)
async def test_impossible_pods_are_named(workloads: Workloads, change, named: str) -> None:
    config = workloads.config()
    change(config)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await workloads.pod_as(config)
    assert named in str(error[0].details())
