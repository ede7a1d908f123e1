"""Ends for want of memory: from the container's own counter, the one above it, and a word that comes late."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from api.wire.containerd import event_types_pb2
from cri.state.records import StatusRecord
from tests.double.containerd import until
from tests.node import DoubleNode


@dataclass
class Counter:
    """What the kernel's counters say; None: the container's cgroup is gone."""

    own: int | None
    above: int = 0

    def kills(self) -> int | None:
        return self.own

    def kills_above(self) -> int:
        return self.above


async def reason_of_end(node: DoubleNode, container: str, code: int = 137) -> str:
    node.containerd.process(container).exit(code)
    found = node.containers.get(container)
    await asyncio.wait_for(found.exited.wait(), 10)
    return found.status.reason


@pytest.mark.parametrize(
    ("counter", "code", "reason"),
    [
        (Counter(1), 137, "OOMKilled"),
        (Counter(1), 1, "Error"),
        (Counter(0, above=1), 137, "Error"),
        (Counter(None, above=1), 137, "OOMKilled"),
        (Counter(None, above=1), 143, "Error"),
        (Counter(None), 137, "Error"),
        (None, 137, "Error"),
    ],
)
async def test_the_reason_follows_from_the_counters(
    node: DoubleNode, counter: Counter | None, code: int, reason: str
):
    _, container = await node.running()
    node.containers.get(container).oom = counter
    assert await reason_of_end(node, container, code) == reason


@pytest.mark.parametrize("gone", [False, True], ids=["it lives on", "it has ended"])
async def test_a_kill_above_that_may_be_anothers_explains_nothing(node: DoubleNode, gone: bool):
    pod, container = await node.running()
    other = await node.containers.create(pod, node.container_config("other"))
    await node.containers.start(other)
    node.containers.get(other).oom = Counter(1)
    node.containers.get(container).oom = Counter(None, above=1)
    if gone:
        assert await reason_of_end(node, other) == "OOMKilled"
    assert await reason_of_end(node, container) == "Error"


async def test_a_kill_in_another_pod_is_another_matter(node: DoubleNode):
    _, container = await node.running()
    config = node.pod_config("elsewhere")
    config.linux.cgroup_parent = "/elsewhere"
    other = await node.containers.create(await node.sandboxes.run(config, ""), node.container_config())
    await node.containers.start(other)
    node.containers.get(other).oom = Counter(1)
    node.containers.get(container).oom = Counter(None, above=1)
    assert await reason_of_end(node, container) == "OOMKilled"


@pytest.mark.parametrize(("code", "reason"), [(137, "OOMKilled"), (1, "Error"), (0, "Completed")])
async def test_a_word_after_the_exit_still_changes_the_reason(node: DoubleNode, code: int, reason: str):
    _, container = await node.running()
    await reason_of_end(node, container, code)
    event = event_types_pb2.TaskOOM(container_id=container)
    node.containerd.exchange.publish("k8s.io", "/tasks/oom", event)
    found = node.containers.get(container)
    await until(lambda: found.oom_seen)
    await node.settled()
    assert (found.status.exit_code, found.status.reason) == (code, reason)
    stored = StatusRecord.from_containerd(await node.client.containers.get(container))
    assert stored is not None
    assert stored.status.reason == reason, "a server that starts later says the same"
