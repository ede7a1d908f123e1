"""Runs commands of the program on the node of a server, with the server's own flags."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2e.harness.node import Node


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    exit_code: int
    output: str
    errors: str

    @property
    def value(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.output)


async def cri_shim(node: Node, command: str, *arguments: str) -> Ended:
    """Run `cri-shim COMMAND` for the node's server, whether that runs or not."""
    root, state = node.server.directories
    configuration = state.parent / "config.toml"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cri.app.cli", command, "--config", str(configuration)),
        *("--listen", node.server.endpoint, "--containerd", node.containerd.address),
        *("--root", str(root), "--state", str(state)),
        *("--cni-conf-dir", node.settings.cni_conf_dir, "--cni-bin-dir", node.settings.cni_bin_dir),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode())
