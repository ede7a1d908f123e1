"""What the kubelet has told of the node's pod CIDRs is known after a restart."""

from __future__ import annotations

import pytest

from api.containerd import Client
from cri.errors import InvalidArgument
from cri.sandbox.pod_cidrs import LABEL, restore_pod_cidrs, update_pod_cidrs
from tests.node import DoubleNode

CIDRS = ["10.8.0.0/24", "fd00:8::/64"]


@pytest.fixture
def told(node: DoubleNode, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the network is told."""
    heard: list[list[str]] = []

    async def set_pod_cidrs(cidrs: list[str]) -> None:
        if "wrong" in cidrs:
            raise InvalidArgument("wrong is no CIDR")
        heard.append(list(cidrs))

    monkeypatch.setattr(node.network, "set_pod_cidrs", set_pod_cidrs)
    return heard


async def test_they_are_told_again_after_a_restart(node: DoubleNode, client: Client, told: list[list[str]]):
    await update_pod_cidrs(node.pods, CIDRS)
    assert told.pop() == CIDRS
    labels = (await client.namespaces.get("k8s.io")).labels
    assert labels[LABEL] == "10.8.0.0/24,fd00:8::/64"
    await restore_pod_cidrs(node.pods)
    assert told == [CIDRS]


async def test_what_is_refused_is_not_kept(node: DoubleNode, client: Client, told: list[list[str]]):
    with pytest.raises(InvalidArgument):
        await update_pod_cidrs(node.pods, ["wrong"])
    await update_pod_cidrs(node.pods, [])
    assert LABEL not in (await client.namespaces.get("k8s.io")).labels
    assert told == []


async def test_what_cannot_be_told_holds_up_no_recovery(
    node: DoubleNode, client: Client, told: list[list[str]]
):
    await client.namespaces.ensure("k8s.io", {LABEL: "wrong"})
    await restore_pod_cidrs(node.pods)
    node.containerd.fail("Namespaces.Get")
    await restore_pod_cidrs(node.pods)
    assert told == []


async def test_other_labels_of_the_namespace_stay(node: DoubleNode, client: Client, told: list[list[str]]):
    await client.namespaces.ensure("k8s.io", {"containerd.io/defaults/runtime": "x"})
    await update_pod_cidrs(node.pods, CIDRS)
    assert (await client.namespaces.get("k8s.io")).labels["containerd.io/defaults/runtime"] == "x"
