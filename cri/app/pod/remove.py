"""Removing a pod: its containers get their grace period, then sandbox, log files and volumes go."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from api.wire import criv1 as cri
from cri.app.pod.node import CALL_SECONDS, Node
from cri.app.pod.plan import DEFAULT_GRACE_SECONDS, DIRECTORY, GRACE_PERIOD


async def remove_pod(node: Node, pod: cri.PodSandbox, grace_seconds: int | None = None) -> None:
    """Stop the running containers side by side, then remove everything of the pod.

    `grace_seconds` None takes what the manifest said. Raises whatever the server says.
    """
    running = [each for each in await node.containers(pod.id) if each.state == cri.CONTAINER_RUNNING]
    async with asyncio.TaskGroup() as group:
        for container in running:
            seconds = _grace(container) if grace_seconds is None else grace_seconds
            group.create_task(_stop(node, container.id, seconds))
    await remove_sandbox(node, pod.id, pod.annotations.get(DIRECTORY, ""))


async def remove_sandbox(node: Node, sandbox_id: str, directory: str) -> None:
    """Remove a sandbox with what is in it, and the tool's own directory; each where it is not empty."""
    if sandbox_id:
        await node.call(
            node.client.runtime.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        )
        await node.call(
            node.client.runtime.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        )
    if directory:
        await asyncio.to_thread(shutil.rmtree, Path(directory), ignore_errors=True)


async def _stop(node: Node, container_id: str, seconds: int) -> None:
    request = cri.StopContainerRequest(container_id=container_id, timeout=seconds)
    await node.call(node.client.runtime.StopContainer, request, CALL_SECONDS + seconds)


def _grace(container: cri.Container) -> int:
    text = container.annotations.get(GRACE_PERIOD, "")
    return int(text) if text.isdecimal() else DEFAULT_GRACE_SECONDS
