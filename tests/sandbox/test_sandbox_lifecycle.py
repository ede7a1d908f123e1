"""Run, stop, remove on the containerd double: steps, budgets, roll-back, hand-over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from api.wire import criv1
from cri.errors import AlreadyExists, InvalidArgument, Unavailable
from cri.linux.mounts import is_mount_point
from cri.linux.namespaces import is_namespace
from cri.sandbox import status
from tests.double.containerd import until
from tests.node import DoubleNode

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


async def test_call_budgets(node: DoubleNode):
    await node.sandboxes.remove(await node.sandboxes.run(node.pod_config("unpacks the image"), ""))
    node.containerd.calls.clear()
    node.network.calls.clear()
    pod = await node.sandboxes.run(node.pod_config(), "")
    expected = ["Containers.Create", "Snapshots.Prepare", "Tasks.Create", "Tasks.Start"]
    assert node.containerd.methods() == [*expected, "Containers.Update"]
    assert node.network.calls == ["ADD"]
    node.containerd.calls.clear()
    await node.sandboxes.stop(pod)
    assert node.containerd.methods() == ["Tasks.Kill", "Tasks.Wait", "Tasks.Delete"]
    assert node.network.calls == ["ADD", "DEL"]
    node.containerd.calls.clear()
    await node.sandboxes.remove(pod)
    assert node.containerd.methods() == ["Snapshots.Remove", "Containers.Delete"]
    assert node.network.calls == ["ADD", "DEL"], "a network that was released is not released again"


async def test_host_network_needs_no_cni(node: DoubleNode):
    node.containerd.calls.clear()
    pod = await node.sandboxes.run(node.pod_config(linux=HOST_NETWORK), "")
    assert node.network.calls == []
    assert "Containers.Update" not in node.containerd.methods()
    assert status.status_message(node.sandboxes.get(pod)).network.ip == ""
    await node.sandboxes.remove(pod)


async def test_cni_runs_beside_the_process(node: DoubleNode):
    node.network.hold.clear()
    run = asyncio.get_running_loop().create_task(node.sandboxes.run(node.pod_config(), ""))
    await node.network.reached.wait()
    await until(lambda: "Tasks.Start" in node.containerd.methods())
    assert not run.done(), "the pod is not ready before its network is"
    node.network.hold.set()
    await run


@pytest.mark.parametrize(
    "method", ["Containers.Create", "Snapshots.Prepare", "Tasks.Create", "Tasks.Start", "Containers.Update"]
)
async def test_a_failure_anywhere_is_undone(node: DoubleNode, method: str):
    node.containerd.fail(method, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Exception, match=method.split(".")[1]):
        await node.sandboxes.run(node.pod_config(), "")
    await node.settled()
    node.assert_nothing_left()
    await node.sandboxes.remove(await node.sandboxes.run(node.pod_config(), ""))


@pytest.mark.parametrize("method", ["Containers.Create", "Snapshots.Prepare", "Tasks.Create", "Tasks.Start"])
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
