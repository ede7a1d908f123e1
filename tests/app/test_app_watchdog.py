"""The watchdog hears of the server as long as it answers, and no longer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from api.wire import criv1
from cri.app.watchdog import keep_alive, serves
from cri.concurrency.supervision import Supervisor
from tests.app.served import served
from tests.double import ContainerdDouble

PATIENCE_SECONDS = 10.0


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager's end of the notification socket."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        yield listener


async def heard(manager: socket.socket) -> str:
    receiving = asyncio.get_running_loop().sock_recv(manager, 1000)
    return (await asyncio.wait_for(receiving, PATIENCE_SECONDS)).decode()


class Hesitant(criv1.RuntimeServiceServicer):
    """Answers Status once it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Event()

    async def Status(self, request, context):
        self.asked.set()
        await self.may_answer.wait()
        return criv1.StatusResponse()


@pytest_asyncio.fixture
async def hesitant(tmp_path: Path) -> AsyncIterator[tuple[Hesitant, Path]]:
    server, servicer, path = grpc.aio.server(), Hesitant(), tmp_path / "s"
    criv1.add_RuntimeServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    yield servicer, path
    await server.stop(0)


async def test_a_served_socket_keeps_the_watchdog_quiet(
    containerd: ContainerdDouble, tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    async with served(containerd, tmp_path):
        assert await heard(manager) == "READY=1"
        assert [await heard(manager) for _ in range(3)] == ["WATCHDOG=1"] * 3


async def test_without_a_watchdog_nobody_probes(
    containerd: ContainerdDouble, tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    async with served(containerd, tmp_path) as server:
        assert await heard(manager) == "READY=1"
        assert "watchdog" not in {task.get_name() for task in asyncio.all_tasks()}
        server.wishes.stop.set()
        assert await heard(manager) == "STOPPING=1"


async def test_a_server_that_hangs_is_not_vouched_for(
    hesitant: tuple[Hesitant, Path], manager: socket.socket
):
    servicer, path = hesitant
    async with Supervisor() as supervisor:
        supervisor.keep("watchdog", lambda: keep_alive(path, 1.0))
        for _ in range(2):
            servicer.asked.clear()
            await asyncio.wait_for(servicer.asked.wait(), PATIENCE_SECONDS)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
        servicer.may_answer.set()
        assert await heard(manager) == "WATCHDOG=1"


async def test_a_socket_that_accepts_and_says_nothing_does_not_serve(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert not await serves(tmp_path / "s", 0.3)


async def test_no_socket_does_not_serve(tmp_path: Path):
    assert not await serves(tmp_path / "absent", 1.0)
