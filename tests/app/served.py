"""The whole server in the test's own loop, as `cri-shim serve` assembles it, on the containerd double."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from api.cri import CriClient
from cri.app import serve
from cri.app.config.load import load
from cri.app.signals import Wishes
from tests.double import ContainerdDouble

START_SECONDS = 30.0


@dataclass(frozen=True)
class Served:
    """A server that answers, its files, and how to end it."""

    configuration_file: Path
    socket: Path
    state: Path
    cri: CriClient
    wishes: Wishes
    running: asyncio.Task[None]


def configuration_text(containerd: ContainerdDouble, directory: Path, more: str = "") -> str:
    """A configuration with everything below `directory`; `more` is further TOML, which begins with plain keys."""
    places = {"root": directory / "root", "state": directory / "state"}
    keys = "".join(f"{name} = {json.dumps(str(path))}\n" for name, path in places.items())
    dotted = {
        "grpc.address": containerd.directory / "cri.sock",  # short enough for a socket
        "containerd.address": containerd.address,
        "cni.conf_dir": directory / "cni",
        "cni.cache_dir": directory / "cni-cache",
        "metrics.address": "",
    }
    keys += "".join(
        f"{name} = {json.dumps(str(value))}\n" for name, value in dotted.items() if name not in more
    )
    return keys + more


@contextlib.asynccontextmanager
async def served(containerd: ContainerdDouble, directory: Path, more: str = "") -> AsyncIterator[Served]:
    """Serve until the block ends; nothing is left running."""
    file = directory / "config.toml"
    (directory / "cni").mkdir(exist_ok=True)
    file.write_text(configuration_text(containerd, directory, more))
    configuration, wishes = load(file), Wishes()
    running = asyncio.get_running_loop().create_task(
        serve._run(configuration, lambda: load(file), wishes, leave_nothing=True), name="server"
    )
    socket = Path(configuration.grpc.address)
    try:
        async with CriClient(str(socket)) as cri:
            answer = asyncio.get_running_loop().create_task(cri.version(deadline_seconds=START_SECONDS))
            await asyncio.wait({answer, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                answer.cancel()
                running.result()
            await answer
            yield Served(file, socket, Path(configuration.state), cri, wishes, running)
    finally:
        wishes.stop.set()
        await running
