"""Nothing is lost and nothing is left while the server and containerd are killed under the kubelet's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.campaign.campaign import run_campaign
from e2e.campaign.kills import Plan

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node

PLAN = Plan(server_kills=20, containerd_kills=2, seed=7, seconds=300)


@pytest.mark.cri_shim_only
@pytest.mark.timeout(900)
async def test_kills_at_random_moments_lose_and_leave_nothing(
    node: Node, tmp_path: Path, only_images_of_before: None
) -> None:
    figures = await run_campaign(node, tmp_path / "logs", PLAN)
    assert not figures.verdict, f"{PLAN}:\n{figures.verdict}"
    assert figures.containers, "no container ever ran"
