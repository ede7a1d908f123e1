"""The node's server as a service of systemd, by the unit that is shipped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.harness.patience import patiently
from e2e.harness.server import CriShim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node

SHIPPED = Path(__file__).parents[2] / "deploy/systemd/cri-shim.service"
UNITS = Path("/run/systemd/system")
NAME = "cri-shim-e2e.service"
WATCHDOG_SECONDS = patiently(12)
"""Instead of the shipped minute: no test shall have to wait for that long."""


class Service:
    """One unit, by the words of systemctl."""

    async def systemctl(self, *words: str) -> str:
        """Run systemctl on the unit; AssertionError with what it and the journal say when it fails."""
        process = await asyncio.create_subprocess_exec(
            *("systemctl", *words, NAME), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = (await process.communicate())[0].decode().strip()
        assert process.returncode == 0, (
            f"systemctl {' '.join(words)} ended with {process.returncode}: {output}"
        )
        return output

    async def properties(self, *names: str) -> dict[str, str]:
        """What systemd says of the unit, by name."""
        lines = await self.systemctl("show", *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in lines.splitlines())

    async def shown(self, name: str) -> str:
        """One property."""
        return (await self.properties(name))[name]

    async def pid(self) -> int:
        """The main process; 0 when there is none."""
        return int(await self.shown("MainPID"))

    async def processes(self) -> set[int]:
        """Every process in the unit's cgroup."""
        group = await self.shown("ControlGroup")
        return {int(line) for line in Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()}


@contextlib.asynccontextmanager
async def served_by_systemd(node: Node) -> AsyncIterator[Service]:
    """The shipped unit runs the node's server within the block; it is as it was before after.

    Only what the unit says of places and of times is changed, by a drop-in.
    """
    server, service = node.server, Service()
    assert isinstance(server, CriShim), "only cri-shim has a unit"
    await server.stop()
    await server.end_log_keeper()
    unit, drop_in = UNITS / NAME, UNITS / f"{NAME}.d/adapted.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(SHIPPED.read_text())
    drop_in.write_text(adapted(server))
    try:
        await reloaded()
        await service.systemctl("start")
        yield service
    finally:
        with contextlib.suppress(AssertionError):
            await service.systemctl("stop")
        await server.end_log_keeper()
        for path in (drop_in, unit):
            path.unlink()
        drop_in.parent.rmdir()
        await reloaded()
        await server.start()


def adapted(server: CriShim) -> str:
    """A drop-in that puts the node's own command, directories and patience in place of the installed ones."""
    search = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return "\n".join(
        (
            "[Service]",
            "ExecStart=",
            f"ExecStart={' '.join(server.command)}",
            "ExecReload=",
            f"ExecReload={sys.executable} -m cri.app.cli reload --state {server.state}",
            *(f"Environment={name}={value}" for name, value in search.items()),
            *("RuntimeDirectory=", "StateDirectory=", "ConfigurationDirectory="),
            f"TimeoutStartSec={patiently(90):.0f}",
            f"WatchdogSec={WATCHDOG_SECONDS:.0f}",
            f"StandardOutput=append:{server.log_file}",
            f"StandardError=append:{server.log_file}",
            "",
        )
    )


async def reloaded() -> None:
    """Let systemd read its units again."""
    process = await asyncio.create_subprocess_exec("systemctl", "daemon-reload")
    assert await process.wait() == 0
