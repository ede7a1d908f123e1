"""Stats and metrics RPCs on the containerd double; cgroups are recorded ones, because its processes are not real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api.wire import criv1
from cri.errors import FailedPrecondition
from cri.linux.namespaces import create_network_namespace, remove_network_namespace
from cri.sandbox import measured, node_stats
from cri.sandbox.node_metrics import descriptor_messages, pod_metrics
from cri.sandbox.node_stats import NodeStats
from cri.stats import target
from cri.stats.cgroup import Cgroup, open_cgroup
from cri.stats.held_files import Allowance, CgroupGoneError
from cri.stats.network import pinned_network_use
from cri.stats.usage import InterfaceUse, NetworkUse
from tests.node import DoubleNode
from tests.stats.cgroup_trees import write_v1

MEBIBYTE = 1 << 20


@pytest.fixture
def cgroups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Every container and pod has a recorded cgroup; the test notes here which are gone."""
    gone: dict[str, str] = {}

    def opened(name: str, allowance: Allowance) -> Cgroup:
        if name in gone:
            raise CgroupGoneError(name)
        directory = tmp_path / "cgroups" / name.strip("/").replace("/", "-")
        return open_cgroup(write_v1(directory), allowance)

    monkeypatch.setattr(
        target, "container_cgroup", lambda _pid, identifier, allowance: opened(identifier, allowance)
    )
    monkeypatch.setattr(target, "cgroup_at", opened)
    return gone


@pytest.fixture
def stats(node: DoubleNode, cgroups: dict[str, str]) -> NodeStats:
    return node.on.stats


async def test_a_running_container_is_measured(node: DoubleNode, stats: NodeStats):
    _, container = await node.running(labels={"tier": "front"})
    (found,) = await stats.matching_containers(criv1.ContainerStatsFilter())
    assert (found.attributes.id, found.attributes.metadata.name) == (container, "app")
    assert found.attributes.labels == {"tier": "front"}
    assert found.memory.working_set_bytes.value == 80 * MEBIBYTE
    assert found.writable_layer.fs_id.mountpoint.endswith("overlayfs")
    await stats.sampler.close()


async def test_a_reading_asks_containerd_nothing(node: DoubleNode, stats: NodeStats):
    await node.running()
    await stats.matching_containers(criv1.ContainerStatsFilter())
    node.containerd.calls.clear()
    await stats.matching_containers(criv1.ContainerStatsFilter())
    assert node.containerd.methods() == [], "disk use was measured a moment ago, the rest is the kernel's"
    await stats.sampler.close()


async def test_filters(node: DoubleNode, stats: NodeStats):
    pod, container = await node.running(labels={"tier": "front"})

    async def shown(**wanted: object) -> list[str]:
        found = await stats.matching_containers(criv1.ContainerStatsFilter(**wanted))
        return [each.attributes.id for each in found]

    assert await shown(id=container[:9], pod_sandbox_id=pod[:9], label_selector={"tier": "front"}) == [
        container
    ]
    assert await shown(id="f" * 64) == await shown(label_selector={"tier": "back"}) == []
    assert await stats.matching_sandboxes(criv1.PodSandboxStatsFilter(id="f" * 64)) == []
    await stats.sampler.close()


async def test_one_that_died_drops_out(node: DoubleNode, stats: NodeStats, cgroups: dict[str, str]):
    pod, container = await node.running()
    cgroups[container] = "gone"
    assert await stats.matching_containers(criv1.ContainerStatsFilter()) == []
    (found,) = await stats.matching_sandboxes(criv1.PodSandboxStatsFilter())
    assert found.attributes.id == pod
    assert list(found.linux.containers) == []
    single = await stats.container(node.node.containers.get(container))
    assert not single.HasField("cpu")
    await stats.sampler.close()


async def test_a_pod_is_the_sum_where_its_parent_is_shared(node: DoubleNode, stats: NodeStats):
    pod, _ = await node.running()
    (found,) = await stats.matching_sandboxes(criv1.PodSandboxStatsFilter())
    assert found.attributes.id == pod
    cgroups = 2 if node.sandboxes.get(pod).pid else 1
    assert found.linux.memory.working_set_bytes.value == cgroups * 80 * MEBIBYTE, (
        "the container and the pause"
    )
    assert found.linux.memory.HasField("available_bytes") is (cgroups == 1), "together they have no limit"
    assert found.linux.process.process_count.value == cgroups * 9
    assert len(found.linux.containers) == 1
    await stats.sampler.close()


async def test_a_pod_is_its_cgroup_where_it_has_one(node: DoubleNode, stats: NodeStats):
    config = node.pod_config("kubelets")
    config.linux.cgroup_parent = f"/kubepods/burstable/pod{config.metadata.uid}"
    pod = await node.sandboxes.run(config, "")
    (found,) = await stats.matching_sandboxes(criv1.PodSandboxStatsFilter(id=pod))
    assert found.linux.memory.working_set_bytes.value == 80 * MEBIBYTE
    assert found.linux.memory.available_bytes.value == 176 * MEBIBYTE
    await stats.sampler.close()


@pytest.mark.parametrize(
    ("parent", "uid", "own"),
    [
        ("/kubepods/besteffort/pod1234-5678", "1234-5678", "/kubepods/besteffort/pod1234-5678"),
        (
            "kubepods-burstable-pod1234_5678.slice",
            "1234-5678",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1234_5678.slice",
        ),
        ("/k8s.io", "1234-5678", None),
        ("", "1234-5678", None),
    ],
)
async def test_whose_cgroup_it_is(node: DoubleNode, parent: str, uid: str, own: str | None):
    pod = await node.sandboxes.run(node.pod_config(), "")
    sandbox = node.node.sandboxes.get(pod)
    sandbox.config.metadata.uid = uid
    sandbox.config.linux.cgroup_parent = parent
    found = measured.own_cgroup(sandbox)
    assert (None if found is None else found.cgroup) == own


async def test_a_stopped_pod_cannot_be_measured(node: DoubleNode, stats: NodeStats):
    pod, _ = await node.running()
    await node.sandboxes.stop(pod)
    with pytest.raises(FailedPrecondition, match="not ready"):
        await stats.sandbox(node.node.sandboxes.get(pod))
    assert await stats.matching_sandboxes(criv1.PodSandboxStatsFilter()) == []
    await stats.sampler.close()


async def test_metrics_of_pods_and_containers(node: DoubleNode, stats: NodeStats):
    pod, container = await node.running()
    declared = {each.name: each for each in descriptor_messages()}
    (encoded,) = await pod_metrics(node.pods.engine, stats)
    found = criv1.PodSandboxMetrics.FromString(encoded)
    assert found.pod_sandbox_id == pod
    (own,) = found.container_metrics
    assert own.container_id == container
    for sample in [*found.metrics, *own.metrics]:
        assert len(sample.label_values) == len(declared[sample.name].label_keys)
    labels = dict(zip(declared["container_memory_rss"].label_keys, own.metrics[0].label_values, strict=False))
    assert (labels["pod"], labels["namespace"], labels["container"]) == ("web", "shop", "app")
    assert labels["id"] == f"/k8s.io/{container}"
    await stats.sampler.close()


async def test_traffic_does_not_depend_on_the_process_it_is_seen_through(
    node: DoubleNode, stats: NodeStats, monkeypatch: pytest.MonkeyPatch
):
    pod, _ = await node.running()
    sandbox = node.node.sandboxes.get(pod)
    through_the_pin = NetworkUse(9, (InterfaceUse("eth0", 1, 2, 3, 4, 5, 6, 7, 8),), "eth0")

    async def pinned(namespace: Path) -> NetworkUse | None:
        return through_the_pin if str(namespace) == sandbox.record.network_namespace else None

    monkeypatch.setattr(node_stats, "network_use", lambda _process: None)  # it has ended a moment ago
    monkeypatch.setattr(node_stats, "pinned_network_use", pinned)
    assert await stats.networks([sandbox]) == {pod: through_the_pin}


async def test_a_sandbox_without_process_is_measured_through_its_pin(tmp_path: Path):
    pin = tmp_path / "netns"
    assert await pinned_network_use(pin) is None
    await create_network_namespace(pin)
    try:
        use = await pinned_network_use(pin)
    finally:
        await remove_network_namespace(pin)
    assert use is not None
    assert [each.name for each in use.interfaces if not each.name.endswith("0")] == []
    assert all(each.rx_bytes == 0 for each in use.interfaces), "an empty namespace, not the host's"


async def test_layers_of_removed_containers_are_forgotten(node: DoubleNode, stats: NodeStats):
    _, container = await node.running()
    await stats.matching_containers(criv1.ContainerStatsFilter())
    assert len(stats._layers._results) == 1
    await node.containers.remove(container)
    await stats.matching_containers(criv1.ContainerStatsFilter())
    assert stats._layers._results == {}
    await stats.sampler.close()


async def test_lists_at_once_share_readings(node: DoubleNode, stats: NodeStats):
    await node.running()
    lists = await asyncio.gather(
        *(stats.matching_containers(criv1.ContainerStatsFilter()) for _ in range(20))
    )
    assert len({each[0].cpu.timestamp for each in lists}) == 1
    await stats.sampler.close()
