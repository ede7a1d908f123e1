"""One campaign on one node."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from e2e.campaign.churn import PodClient, keep_pulling
from e2e.campaign.figures import Figures
from e2e.campaign.kills import Plan, kill_again_and_again
from e2e.campaign.leaks import look_for_leaks
from e2e.harness import catalogue
from e2e.harness.leftovers import holdings
from e2e.harness.push import push

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node

CLIENTS = 4
PULLED = "e2e/campaign"


async def run_campaign(node: Node, logs: Path, plan: Plan) -> Figures:
    """Churn and kill, then look what is left. Each who takes part has dice of its own: a seed says what it does."""
    figures, ending = Figures(), asyncio.Event()
    began = time.monotonic()
    await push(node.registry, PULLED, "1", catalogue.layered(3, 200_000))
    before = await holdings(node.containerd, node.server.directories, node.cgroup_parent)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            name = f"client{number}"
            client = PodClient(node, logs, figures, name, random.Random(f"{plan.seed} {name}"))
            group.create_task(client.run(ending))
        group.create_task(keep_pulling(node, f"{node.registry.host}/{PULLED}:1", figures, ending))
        try:
            await kill_again_and_again(node, figures, plan)
        finally:
            ending.set()
    await look_for_leaks(node, before, figures)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures
