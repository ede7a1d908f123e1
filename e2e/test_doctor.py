"""`cri-shim doctor` on a node that works."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest

from e2e.harness.eventually import eventually
from e2e.harness.server import CriShim

if TYPE_CHECKING:
    from e2e.harness.node import Node

pytestmark = pytest.mark.cri_shim_only


async def test_it_finds_the_node_able_to_run_pods(node: Node) -> None:
    assert isinstance(node.server, CriShim)
    registry = node.registry.host
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cri.app.cli", "doctor", "--json"),
        *("--config", str(node.server.configuration_file), "--registry", registry),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    report = json.loads(output)
    broken = [finding for finding in report["findings"] if finding["level"] == "broken"]
    # Ports are not the server's here: it was started with another metrics address and socket than its file names.
    assert [finding for finding in broken if finding["area"] != "ports"] == []
    assert node.containerd.address in report["seen"]["containerd"]
    assert "10-bridge.conflist (bridge" in report["seen"]["networks"]
    assert report["seen"]["registries"] == registry


async def test_the_server_logs_the_same_findings(node: Node) -> None:
    async def log() -> str:
        return node.server.log_file.read_text()

    await eventually(log, lambda text: "doctor" in text and "remedy=" in text, "a finding in the log")
