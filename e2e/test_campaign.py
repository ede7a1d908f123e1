"""Nothing is lost and nothing is left while the server and containerd are killed under the kubelet's hands."""

from __future__ import annotations

import pytest

from e2e.campaign.campaign import run_campaign
from e2e.campaign.kills import Plan
from e2e.harness.node import CRI_SHIM
from e2e.harness.node import node as running_node

PLAN = Plan(server_kills=20, containerd_kills=2, seed=7, seconds=300)


@pytest.mark.cri_shim_only
@pytest.mark.timeout(900)
async def test_kills_at_random_moments_lose_and_leave_nothing() -> None:
    """On a node of its own, since what containerd forgets stays with it."""
    async with running_node(CRI_SHIM) as node:
        figures = await run_campaign(node, node.directory.parent / "logs", PLAN)
    assert not figures.verdict, f"{PLAN}:\n{figures.verdict}"
    assert figures.containers, "no container ever ran"
