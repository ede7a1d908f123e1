"""What is left when all pods are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.harness.commands import cri_shim
from e2e.harness.leftovers import Holdings, lasting_leftovers

if TYPE_CHECKING:
    from e2e.campaign.figures import Figures
    from e2e.harness.node import Node


async def look_for_leaks(node: Node, before: Holdings, figures: Figures) -> None:
    """Have the janitor go round, then note each thing that is left."""
    swept = await cri_shim(node, "gc", "--json")
    if swept.exit_code == 0:
        figures.swept += [f"{each['kind']} {each['name']}: {each['reason']}" for each in swept.value]
    else:
        figures.leaks.append(f"cri-shim gc: {swept.output or swept.errors}")
    checked = await cri_shim(node, "check", "--json")
    if checked.exit_code != 0:
        figures.leaks.append(f"cri-shim check: {checked.output or checked.errors}")
    reserved = node.containerd.layout.reservations.glob("*/*.*.*.*")
    figures.leaks += [f"address {path.name} is still reserved" for path in reserved]
    directories = node.server.directories
    left = await lasting_leftovers(before, node.containerd, directories, node.cgroup_parent)
    bundles = [each for each in left if each.startswith(f"FIFO: {node.containerd.layout.bundles}/")]
    shims = [each for each in left if each.startswith("process: ") and "/containerd-shim-" in each.split()[1]]
    figures.empty_bundles, figures.empty_shims = len(bundles), len(shims)
    figures.leaks += [each for each in left if each not in (*bundles, *shims)]
