"""The campaign on a node of its own; figures as JSON, exit code 1 if anything was lost or left."""

from __future__ import annotations

import argparse
import asyncio
import json
import math

from e2e.campaign.campaign import run_campaign
from e2e.campaign.figures import Figures
from e2e.campaign.kills import Plan
from e2e.harness.node import CRI_SHIM
from e2e.harness.node import node as running_node


async def main(plan: Plan) -> Figures:
    """A node, a campaign, its figures."""
    async with running_node(CRI_SHIM) as node:
        return await run_campaign(node, node.directory.parent / "logs", plan)


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m e2e.campaign", description=__doc__)
    parser.add_argument("--server-kills", type=int, default=200)
    parser.add_argument("--containerd-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill no more after that")
    given = parser.parse_args()
    return Plan(given.server_kills, given.containerd_kills, given.seed, 60 * given.minutes)


if __name__ == "__main__":
    outcome = asyncio.run(main(_plan()))
    print(json.dumps(vars(outcome), indent=2))
    raise SystemExit(1 if outcome.verdict else 0)
