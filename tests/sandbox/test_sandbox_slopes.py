"""Doing it again and again: nothing that a server holds grows with the number of pods that have been."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.node import DoubleNode

WARM_UP, CYCLES, SAMPLES = 10, 10, 4
MOST_OBJECTS_A_CYCLE = 3.0
"""Python objects; a pod that stayed behind would be hundreds."""

COUNTED_APART = frozenset({"Envelope", "ContainerEventResponse"})
"""The double's own history, and events for watchers that come back, whose number is bounded."""
SLACK = 3
"""Tasks and files of calls that are just ending."""


def held(node: DoubleNode) -> dict[str, int]:
    """What the kernel and the loop hold for this process, and the mounts of this node."""
    state = str(node.pods.engine.paths.state)
    return {
        "open files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "asyncio tasks": len(asyncio.all_tasks()),
        "mounts": Path("/proc/self/mountinfo").read_text().count(state),
    }


async def cycle(node: DoubleNode, number: int) -> None:
    """One pod with one container, from beginning to end, with a command in it."""
    pod = await node.sandboxes.run(node.pod_config(f"web-{number}"), "")
    container = await node.containers.create(pod, node.container_config())
    await node.containers.start(container)
    await node.containers.exec_sync(container, ["echo"], 5)
    await node.containers.stop(container, 1)
    await node.containers.remove(container)
    await node.sandboxes.stop(pod)
    await node.sandboxes.remove(pod)


@pytest.mark.timeout(300)
async def test_pods_that_have_been_leave_the_server_as_it_was(node: DoubleNode):
    """Files, threads, tasks and mounts are the same in number; objects do not grow from sample to sample."""
    number = 0

    async def sample() -> tuple[dict[str, int], Counter[str]]:
        nonlocal number
        for _ in range(CYCLES):
            number += 1
            await cycle(node, number)
        await node.settled()
        node.containerd.calls.clear()
        gc.collect()
        return held(node), Counter(
            name for each in gc.get_objects() if (name := type(each).__name__) not in COUNTED_APART
        )

    for _ in range(WARM_UP // CYCLES):
        await sample()
    first, objects = await sample()
    for _ in range(SAMPLES):
        last, objects_now = await sample()
    grown_by = {name: last[name] - first[name] for name in first}
    assert max(grown_by.values()) <= SLACK, grown_by
    grown = (objects_now - objects).most_common(5)
    slope = (objects_now.total() - objects.total()) / (SAMPLES * CYCLES)
    assert slope < MOST_OBJECTS_A_CYCLE, f"{slope:.1f} objects a cycle stay: {grown}"
