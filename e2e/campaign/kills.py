"""Who dies when.

The moments are counted in calls that have changed a pod, not in seconds: so a slow machine gets as far between two
kills as a fast one. After a number of them by lot the axe falls within a tenth of a second, which is as long as the
longer calls take.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from e2e.campaign.figures import Figures
    from e2e.harness.node import Node

MOST_CHANGES = 12
LONGEST_AIM_SECONDS = 0.1
LONGEST_LIFE_SECONDS = 10.0
"""Changes may be long in coming: a stop waits for its container."""
LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to kill, and for how long at most."""

    server_kills: int
    containerd_kills: int
    seed: int
    seconds: float = math.inf


async def kill_again_and_again(node: Node, figures: Figures, plan: Plan) -> None:
    """Kill and start again, containerd together with the server at some of the kills."""
    dice = random.Random(f"{plan.seed} kills")
    with_containerd = frozenset(dice.sample(range(plan.server_kills), plan.containerd_kills))
    end = time.monotonic() + plan.seconds
    for number in range(plan.server_kills):
        if time.monotonic() > end:
            return
        await _changed(figures, dice.randint(0, MOST_CHANGES))
        await asyncio.sleep(dice.uniform(0, LONGEST_AIM_SECONDS))
        if number in with_containerd:
            await node.containerd.kill()
            figures.containerd_kills += 1
        await node.server.kill()
        figures.server_kills += 1
        if number in with_containerd:
            await node.containerd.start()
        started = time.monotonic()
        await node.server.start()
        figures.recovery_seconds.append(round(time.monotonic() - started, 2))


async def _changed(figures: Figures, number: int) -> None:
    """Wait until so many more calls have changed a pod."""
    target = figures.changes + number
    deadline = time.monotonic() + patiently(LONGEST_LIFE_SECONDS)
    while figures.changes < target and time.monotonic() < deadline:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(LOOK_SECONDS)
