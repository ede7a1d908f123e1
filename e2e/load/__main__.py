"""The command line of the load figures."""

from __future__ import annotations

import argparse
import asyncio
import json

from e2e.harness.node import CRI_SHIM
from e2e.harness.node import node as running_node
from e2e.load.cycles import CycleFigures, run_cycles
from e2e.load.startup import StartupFigures, run_startup


async def main(arguments: argparse.Namespace) -> CycleFigures | StartupFigures:
    """A node, the load, its figures."""
    async with running_node(CRI_SHIM) as node:
        if arguments.load == "cycles":
            return await run_cycles(node, arguments.pods)
        return await run_startup(node, arguments.pods, arguments.containers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.load", description=__doc__)
    loads = parser.add_subparsers(dest="load", required=True)
    cycles = loads.add_parser("cycles", help="pods one after the other")
    cycles.add_argument("--pods", type=int, default=2000)
    startup = loads.add_parser("startup", help="start the server on a full node")
    startup.add_argument("--pods", type=int, default=150)
    startup.add_argument("--containers", type=int, default=500)
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(vars(asyncio.run(main(_arguments()))), indent=2))
