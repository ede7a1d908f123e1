"""Run, stop, remove on the containerd double: steps, budgets, roll-back, hand-over."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from api.wire import criv1
from cri.container.handlers import Handler, SandboxMode
from cri.errors import AlreadyExists, InvalidArgument, Unavailable
from cri.linux.mounts import is_mount_point
from cri.linux.namespaces import NamespaceSet, inside, is_namespace
from cri.oci.handler import RuntimeHandler
from cri.sandbox import status
from cri.sandbox.holders.choice import needs_process
from tests.double.containerd import until
from tests.node import BY_MOUNTS, BY_PROCESS, DoubleNode

HOST_NETWORK = criv1.LinuxPodSandboxConfig(
    security_context=criv1.LinuxSandboxSecurityContext(
        namespace_options=criv1.NamespaceOption(network=criv1.NODE, pid=criv1.CONTAINER)
    )
)


async def test_a_whole_life_leaves_nothing(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(hostname="web"), "")
    sandbox = node.sandboxes.get(pod)
    assert is_namespace(Path(sandbox.record.network_namespace))
    assert is_mount_point(node.pods.engine.paths.shared_memory(pod))
    message = status.status_message(sandbox)
    assert (message.state, message.network.ip) == (criv1.SANDBOX_READY, "10.0.0.9")
    await node.sandboxes.stop(pod)
    message = status.status_message(sandbox)
    assert (message.state, message.network.ip) == (criv1.SANDBOX_NOTREADY, "")
    assert not is_namespace(Path(sandbox.record.network_namespace))
    await node.sandboxes.remove(pod)
    await node.settled()
    node.assert_nothing_left()


@dataclass(frozen=True)
class Budget:
    """Calls of containerd in order."""

    run: list[str]
    stop: list[str]
    remove: list[str]


BUDGETS = {
    SandboxMode.AUTO: Budget(["Containers.Create", "Containers.Update"], [], ["Containers.Delete"]),
    SandboxMode.PAUSE: Budget(
        ["Containers.Create", "Snapshots.Prepare", "Tasks.Create", "Tasks.Start", "Containers.Update"],
        ["Tasks.Kill", "Tasks.Wait", "Tasks.Delete"],
        ["Snapshots.Remove", "Containers.Delete"],
    ),
}


STEPS = pytest.mark.parametrize(
    ("mode", "method"),
    [(mode, method) for mode, budget in BUDGETS.items() for method in budget.run],
    indirect=["mode"],
)


async def test_call_budgets(node: DoubleNode):
    await node.sandboxes.remove(await node.sandboxes.run(node.pod_config("unpacks the image"), ""))
    budget = BUDGETS[node.mode]
    node.containerd.calls.clear()
    node.network.calls.clear()
    pod = await node.sandboxes.run(node.pod_config(), "")
    assert node.containerd.methods() == budget.run
    assert node.network.calls == ["ADD"]
    node.containerd.calls.clear()
    await node.sandboxes.stop(pod)
    assert node.containerd.methods() == budget.stop
    assert node.network.calls == ["ADD", "DEL"]
    node.containerd.calls.clear()
    await node.sandboxes.remove(pod)
    assert node.containerd.methods() == budget.remove
    assert node.network.calls == ["ADD", "DEL"], "a network that was released is not released again"


async def test_host_network_needs_no_cni(node: DoubleNode):
    node.containerd.calls.clear()
    pod = await node.sandboxes.run(node.pod_config(linux=HOST_NETWORK), "")
    assert node.network.calls == []
    assert "Containers.Update" not in node.containerd.methods()
    assert status.status_message(node.sandboxes.get(pod)).network.ip == ""
    await node.sandboxes.remove(pod)


@BY_PROCESS
async def test_cni_runs_beside_the_process(node: DoubleNode):
    node.network.hold.clear()
    run = asyncio.get_running_loop().create_task(node.sandboxes.run(node.pod_config(), ""))
    await node.network.reached.wait()
    await until(lambda: "Tasks.Start" in node.containerd.methods())
    assert not run.done(), "the pod is not ready before its network is"
    node.network.hold.set()
    await run


@STEPS
async def test_a_failure_anywhere_is_undone(node: DoubleNode, method: str):
    node.containerd.fail(method, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Exception, match=method.split(".")[1]):
        await node.sandboxes.run(node.pod_config(), "")
    await node.settled()
    node.assert_nothing_left()
    await node.sandboxes.remove(await node.sandboxes.run(node.pod_config(), ""))


@STEPS
async def test_a_lost_answer_is_undone(node: DoubleNode, method: str):
    node.containerd.lose_answer(method, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Exception, match=method.split(".")[1]):
        await node.sandboxes.run(node.pod_config(), "")
    await node.settled()
    node.assert_nothing_left()


async def test_a_failed_add_is_followed_by_del(node: DoubleNode):
    node.network.fail["ADD"] = Unavailable("CNI plugin 'bridge' failed")
    with pytest.raises(Unavailable, match="bridge"):
        await node.sandboxes.run(node.pod_config(), "")
    assert node.network.calls == ["ADD", "DEL"]
    await node.settled()
    node.assert_nothing_left()


async def test_a_network_that_cannot_be_released_keeps_the_sandbox_for_a_retry(node: DoubleNode):
    node.network.fail = {"ADD": Unavailable("no address"), "DEL": Unavailable("daemon away")}
    with pytest.raises(Unavailable, match="no address"):
        await node.sandboxes.run(node.pod_config(), "")
    (sandbox,) = node.node.sandboxes
    assert sandbox.state == criv1.SANDBOX_NOTREADY
    with pytest.raises(Unavailable, match="daemon away"):
        await node.sandboxes.stop(sandbox.id)
    node.network.fail.clear()
    await node.sandboxes.stop(sandbox.id)
    await node.sandboxes.remove(sandbox.id)
    await node.settled()
    node.assert_nothing_left()


async def test_a_retry_joins_and_a_later_one_is_refused(node: DoubleNode):
    node.network.hold.clear()
    loop = asyncio.get_running_loop()
    first = loop.create_task(node.sandboxes.run(node.pod_config(), ""))
    await node.network.reached.wait()
    first.cancel()
    await asyncio.wait({first})
    retry = loop.create_task(node.sandboxes.run(node.pod_config(), ""))
    await asyncio.sleep(0)
    node.network.hold.set()
    pod = await retry
    assert [sandbox.id for sandbox in node.node.sandboxes] == [pod]
    with pytest.raises(AlreadyExists, match=pod):
        await node.sandboxes.run(node.pod_config(), "")


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
async def test_metadata_is_demanded(node: DoubleNode, field: str):
    config = node.pod_config()
    config.metadata.ClearField(field)
    with pytest.raises(InvalidArgument, match=f"config.metadata.{field}"):
        await node.sandboxes.run(config, "")


async def test_an_unknown_handler_is_named(node: DoubleNode):
    with pytest.raises(InvalidArgument, match=r"'kata' is not configured .*known: runc"):
        await node.sandboxes.run(node.pod_config(), "kata")


async def test_stop_takes_the_containers_along_and_remove_removes_them(node: DoubleNode):
    pod, container = await node.running()
    await node.sandboxes.stop(pod)
    assert node.containers.get(container).exited.is_set()
    await node.sandboxes.stop(pod)
    await node.sandboxes.remove(pod)
    await node.sandboxes.remove(pod)
    await node.settled()
    node.assert_nothing_left()


async def test_removing_a_running_pod_twice_at_once(node: DoubleNode):
    pod, _ = await node.running()
    await asyncio.gather(node.sandboxes.remove(pod), node.sandboxes.remove(pod), node.sandboxes.stop(pod))
    await node.settled()
    node.assert_nothing_left()


@BY_PROCESS
async def test_a_pod_whose_process_dies_is_not_ready(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    node.containerd.process(pod).exit(1)
    await asyncio.wait_for(node.sandboxes.get(pod).ended.wait(), 10)
    assert status.status_message(node.sandboxes.get(pod)).state == criv1.SANDBOX_NOTREADY
    await node.sandboxes.remove(pod)
    await node.settled()
    node.assert_nothing_left()


async def test_files_of_the_pod(node: DoubleNode):
    dns = criv1.DNSConfig(servers=["10.0.0.10"], searches=["a.local", "b.local"], options=["ndots:5"])
    pod = await node.sandboxes.run(node.pod_config(hostname="web-0", dns_config=dns), "")
    files = node.pods.engine.paths.sandbox_files(pod)
    assert (files / "hostname").read_text() == "web-0\n"
    expected = "search a.local b.local\nnameserver 10.0.0.10\noptions ndots:5\n"
    assert (files / "resolv.conf").read_text() == expected
    assert node.logs.is_dir()


async def test_a_line_break_in_a_dns_name_is_refused(node: DoubleNode):
    dns = criv1.DNSConfig(servers=["10.0.0.10\nnameserver 6.6.6.6"])
    with pytest.raises(InvalidArgument, match="dns_config.servers"):
        await node.sandboxes.run(node.pod_config(dns_config=dns), "")
    await node.settled()
    node.assert_nothing_left()


@BY_MOUNTS
async def test_mounts_hold_the_namespaces_without_a_process(node: DoubleNode):
    node.containerd.fail("Images.Get", grpc.StatusCode.UNAVAILABLE, "no sandbox image is asked for")
    pod = await node.sandboxes.run(node.pod_config(hostname="web"), "")
    sandbox = node.sandboxes.get(pod)
    assert (sandbox.pid, sandbox.image_id) == (0, "")
    names = ("net", "ipc", "uts")
    pins = [sandbox.namespaces.network, sandbox.namespaces.ipc, sandbox.namespaces.uts]
    for name, pin in zip(names, pins, strict=True):
        assert pin is not None
        assert os.stat(pin).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino, f"{name} is the host's"
    assert await inside(NamespaceSet(uts=Path(pins[2] or "")), socket.gethostname) == "web"
    assert not node.containerd.leftovers().tasks
    await node.sandboxes.remove(pod)
    await node.settled()
    node.assert_nothing_left()


@BY_MOUNTS
@pytest.mark.parametrize(
    ("sysctl", "problem"), [("net.ipv4.ip_forward", "cannot set sysctl"), ("vm.swappiness", "namespaced one")]
)
async def test_a_sysctl_that_cannot_be_set_is_named(node: DoubleNode, sysctl: str, problem: str):
    config = node.pod_config()
    config.linux.sysctls[sysctl] = "much"
    with pytest.raises(InvalidArgument, match=problem):
        await node.sandboxes.run(config, "")
    await node.settled()
    node.assert_nothing_left()


@BY_MOUNTS
async def test_a_shared_pid_namespace_needs_a_process(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    config = node.container_config()
    config.linux.security_context.namespace_options.pid = criv1.POD
    with pytest.raises(InvalidArgument, match="made without a PID namespace"):
        await node.containers.create(pod, config)
    await node.sandboxes.remove(pod)


@pytest.mark.parametrize(
    ("node_mode", "handler_mode", "runtime", "pid", "expected"),
    [
        ("auto", None, "io.containerd.runc.v2", criv1.CONTAINER, False),
        ("auto", None, "io.containerd.runc.v2", criv1.NODE, False),
        ("auto", None, "io.containerd.runc.v2", criv1.POD, True),
        ("auto", None, "io.containerd.kata.v2", criv1.CONTAINER, True),
        ("auto", "pause", "io.containerd.runc.v2", criv1.CONTAINER, True),
        ("pause", None, "io.containerd.runc.v2", criv1.CONTAINER, True),
        ("pause", "auto", "io.containerd.runc.v2", criv1.CONTAINER, False),
    ],
)
def test_when_a_process_is_needed(
    node_mode: str,
    handler_mode: str | None,
    runtime: str,
    pid: criv1.NamespaceMode.ValueType,
    expected: bool,
):
    spec = RuntimeHandler("any", runtime)
    handler = Handler("any", spec, None, "", sandbox_mode=SandboxMode(handler_mode) if handler_mode else None)
    config = criv1.PodSandboxConfig()
    config.linux.security_context.namespace_options.pid = pid
    assert needs_process(config, handler, SandboxMode(node_mode)) is expected
