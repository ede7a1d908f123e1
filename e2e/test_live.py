"""`cri-shim status`, `timeline` and `log-level` of a serving cri-shim, from a second process."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from api.wire import criv1
from e2e.harness.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

pytestmark = pytest.mark.cri_shim_only


async def cri_shim(node: Node, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    state = node.server.directories[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cri.app.cli", *arguments, "--state", str(state)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_a_stop_under_way_is_listed_with_its_stage_and_stack(node: Node, workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.run(command=["sh", "-c", "trap '' TERM; while :; do sleep 1000 & wait $!; done"])
    async with asyncio.TaskGroup() as group:
        group.create_task(container.stop(30))
        shown = await eventually(
            lambda: cri_shim(node, "status", "-v"), lambda text: "StopContainer" in text, "the stop"
        )
        await container.stop(0)
    assert f"StopContainer container={container.id}  in exit for " in shown
    assert "stage exit:" in shown
    assert "stop_container: " in shown, "the stack names the function that waits"


async def test_how_a_pod_started_is_drawn(node: Node, workloads: Workloads, tmp_path: Path) -> None:
    pod = await workloads.pod("drawn")
    container = await pod.sleeper("app")
    chart = await cri_shim(node, "timeline", "e2e/drawn")
    for part in (
        "RunPodSandbox",
        "netns",
        "cni:bridge",
        "task-create",
        "CreateContainer app",
        "StartContainer app",
    ):
        assert part in chart, chart
    picture = tmp_path / "drawn.svg"
    await cri_shim(node, "timeline", pod.id[:13], "--svg", str(picture))
    ET.fromstring(picture.read_text())
    told = json.loads(await cri_shim(node, "timeline", pod.config.metadata.uid, "--json"))
    request = criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
    info = (await node.cri.runtime.PodSandboxStatus(request)).info
    assert json.loads(info["timeline"]) == told
    status = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
    own = json.loads((await node.cri.runtime.ContainerStatus(status)).info["timeline"])
    assert [each["operation"] for each in own["operations"]] == ["CreateContainer", "StartContainer"]


async def test_the_log_level_changes_while_it_serves(node: Node) -> None:
    await cri_shim(node, "log-level", "error")
    try:
        size = node.server.log_file.stat().st_size
        await node.cri.runtime.Version(criv1.VersionRequest())
        assert node.server.log_file.stat().st_size == size, "nothing but errors is logged"
    finally:
        await cri_shim(node, "log-level", "debug")
    await node.cri.runtime.Version(criv1.VersionRequest())
    assert node.server.log_file.stat().st_size > size
