"""A real log keeper process and containers made of FIFOs."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from pretended_pods import COMMAND, Pod

from cri.linux import process
from cri.logs.client import Followed, LogKeeper


@pytest.fixture
async def pods(tmp_path) -> AsyncIterator[Callable[..., Pod]]:
    made: list[Pod] = []

    def make(name: str, **options) -> Pod:
        made.append(Pod(tmp_path, name, **options))
        return made[-1]

    yield make
    for pod in made:
        pod.close()


@pytest.fixture
async def keepers(tmp_path) -> AsyncIterator[Callable[..., Awaitable[LogKeeper]]]:
    """Clients of one keeper; its process is gone after the test, however the test ends."""
    clients: list[LogKeeper] = []
    pids: set[int] = set()

    async def start(
        again: Callable[[], list[Followed]] = list,
        socket: Path = tmp_path / "keeper.sock",
        command: Sequence[str] = COMMAND,
    ) -> LogKeeper:
        async def on_restart() -> list[Followed]:
            return again()

        client = LogKeeper(socket, command, on_restart)
        await client.start()
        clients.append(client)
        pids.add(client.pid or 0)
        return client

    yield start
    for client in clients:
        pids.add(client.pid or 0)
        with contextlib.suppress(Exception):
            await client.shutdown()
    for pid in pids - {0}:
        if not await process.exited(pid, 5):
            os.kill(pid, signal.SIGKILL)
            pytest.fail(f"log keeper {pid} did not end on shutdown")
