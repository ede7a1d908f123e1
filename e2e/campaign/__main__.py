"""The campaign on a node of its own; figures as JSON, exit code 1 if anything was lost or left."""

from __future__ import annotations

import argparse
import asyncio
import json

from e2e.campaign.campaign import run_campaign
from e2e.campaign.figures import Figures
from e2e.harness.node import CRI_SHIM
from e2e.harness.node import node as running_node


async def main(server_kills: int, containerd_kills: int, seed: int) -> Figures:
    """A node, a campaign, its figures."""
    async with running_node(CRI_SHIM) as node:
        logs = node.directory.parent / "logs"
        return await run_campaign(
            node, logs, server_kills=server_kills, containerd_kills=containerd_kills, seed=seed
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.campaign", description=__doc__)
    parser.add_argument("--server-kills", type=int, default=200)
    parser.add_argument("--containerd-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    outcome = asyncio.run(main(given.server_kills, given.containerd_kills, given.seed))
    print(json.dumps(vars(outcome), indent=2))
    raise SystemExit(1 if outcome.verdict else 0)
