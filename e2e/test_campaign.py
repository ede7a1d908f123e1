"""Nothing is lost and nothing is left while the server and containerd are killed under the kubelet's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.campaign.campaign import run_campaign

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node

SERVER_KILLS, CONTAINERD_KILLS, SEED = 20, 2, 7


@pytest.mark.cri_shim_only
@pytest.mark.timeout(600)
async def test_kills_at_random_moments_lose_and_leave_nothing(
    node: Node, tmp_path: Path, only_images_of_before: None
) -> None:
    figures = await run_campaign(
        node, tmp_path / "logs", server_kills=SERVER_KILLS, containerd_kills=CONTAINERD_KILLS, seed=SEED
    )
    assert not figures.verdict, (
        f"seed {SEED}, {SERVER_KILLS} and {CONTAINERD_KILLS} kills:\n{figures.verdict}"
    )
    assert figures.containers, "no container ever ran"
