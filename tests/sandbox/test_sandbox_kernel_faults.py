"""The kernel in the way: mounts that somebody holds on to, and a clock that is set."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from cri.linux.mounts import is_mount_point
from cri.linux.namespaces import is_namespace
from tests.double.containerd import until
from tests.node import DoubleNode

HOUR = 3600


async def test_mounts_that_somebody_holds_open_do_not_keep_a_pod(node: DoubleNode):
    """A backup reads /dev/shm of a pod, a debugger sits in its network namespace: neither stops the kubelet."""
    pod, _ = await node.running()
    paths = node.pods.engine.paths
    shared, namespace = paths.shared_memory(pod), paths.network_namespace(pod)
    held = shared / "held"
    held.write_text("x")
    descriptor = os.open(held, os.O_RDONLY)
    debugger = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={namespace}", "sleep", "60", cwd=shared
    )
    try:
        await until(lambda: os.stat(f"/proc/{debugger.pid}/ns/net").st_ino == namespace.stat().st_ino)
        await node.sandboxes.stop(pod)
        await node.sandboxes.remove(pod)
        assert not is_mount_point(shared)
        assert not is_namespace(namespace)
        await node.settled()
        node.assert_nothing_left()
    finally:
        debugger.kill()
        await debugger.wait()
        os.close(descriptor)


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_a_clock_that_is_set_gives_no_negative_durations(
    node: DoubleNode, monkeypatch: pytest.MonkeyPatch, jump: int
):
    """Neither in the status of a container that lives through it, nor for those that come after."""
    pod, container = await node.running()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump * 10**9)
    node.containerd.process(container).exit(3)
    await until(lambda: node.containers.get(container).exited.is_set())
    later = await node.containers.create(pod, node.container_config("later"))
    await node.containers.start(later)
    await node.containers.stop(later, 0)
    for each in (container, later):
        status = node.containers.get(each).status
        assert 0 < status.created_at <= status.started_at <= status.finished_at
    assert (await node.containers.exec_sync(await again(node, pod), ["echo"], 5)).exit_code == 0
    await node.sandboxes.remove(pod)


async def again(node: DoubleNode, pod: str) -> str:
    """A further container that runs."""
    container = await node.containers.create(pod, node.container_config("again"))
    await node.containers.start(container)
    return container
