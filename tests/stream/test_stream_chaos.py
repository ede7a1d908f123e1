"""Clients that leave at any moment and read at any speed: nothing is left, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from cri.stream.endpoints import PortForwardCall, Streams
from cri.stream.server import StreamServer
from tests.double.containerd import until
from tests.stream.stream_clients import SocketClient, SpdyClient
from tests.stream.stream_fakes import FakeProcess, LoopbackDialler, fake_exec

ALL = Streams(stdin=True, stdout=True, stderr=True)
CLIENTS = 60


async def noisy_cat(process: FakeProcess) -> int:
    """Copies its input and writes much of its own; ends with its input or when it is abandoned."""

    async def chatter() -> None:
        while True:
            await process.write(bytes(5000), "stderr")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        chattering = group.create_task(chatter())
        ended = group.create_task(process.abandoned.wait())
        while True:
            reading = group.create_task(process.stdin.get())
            await asyncio.wait([reading, ended], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() or not reading.result():
                reading.cancel()
                break
            await process.write(reading.result())
        chattering.cancel()
        ended.cancel()
    return 0


async def misbehave_over_spdy(server: StreamServer, dice: random.Random) -> FakeProcess | None:
    call, processes = fake_exec(noisy_cat, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        client.counts = dice.random() < 0.5
        kinds = ["error", "stdin", "stdout", "stderr"]
        dice.shuffle(kinds)
        ids = {kind: await client.open(streamtype=kind) for kind in kinds[: dice.choice((2, 4, 4, 4))]}
        for _ in range(dice.randrange(20)):
            match dice.randrange(6):
                case 0:
                    client.paused.clear()
                case 1:
                    client.paused.set()
                case 2:
                    client.session.reset(dice.choice([*ids.values()]))
                    client.flush()
                case 3 if "stdin" in ids:
                    client.end(ids["stdin"])
                case _ if "stdin" in ids and client.session.can_send(ids["stdin"]):
                    with contextlib.suppress(TimeoutError, AssertionError, OSError, ValueError):
                        async with asyncio.timeout(0.02):
                            await client.send(ids["stdin"], bytes(dice.randrange(200_000)))
                case _:
                    await asyncio.sleep(dice.random() / 100)
    return processes[0] if processes else None


async def misbehave_over_websocket(server: StreamServer, dice: random.Random) -> FakeProcess | None:
    call, processes = fake_exec(noisy_cat, ALL)
    async with SocketClient.connect(server.url(call), "v5.channel.k8s.io") as client:
        for _ in range(dice.randrange(10)):
            with contextlib.suppress(OSError):
                await client.send(
                    dice.choice([b"\x00data", b"\xff\x00", b"\x04{}", b"", b"\x07", b"\xff\x09"])
                )
            await asyncio.sleep(dice.random() / 100)
    return processes[0] if processes else None


@pytest.mark.parametrize("seed", range(3))
async def test_execs(server: StreamServer, seed: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cri.stream.remote_command_session.STREAMS_SECONDS", 0.2)
    monkeypatch.setattr("cri.stream.transport.LINGER_SECONDS", 0.5)
    processes: list[FakeProcess] = []

    async def one(number: int) -> None:
        dice = random.Random(seed * 1000 + number)
        misbehave = misbehave_over_spdy if dice.random() < 0.7 else misbehave_over_websocket
        process = await misbehave(server, dice)
        if process is not None:
            processes.append(process)

    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(one(number))
    await until(lambda: not server.sessions, 20)
    assert all(process.removed.is_set() for process in processes)
    assert processes, "some must have been started"


async def test_port_forwards(server: StreamServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cri.stream.transport.LINGER_SECONDS", 0.5)
    open_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        with contextlib.suppress(OSError):
            while block := await reader.read(65536):
                writer.write(block * 2)
                await writer.drain()
        writer.close()
        open_connections -= 1

    pod = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = str(pod.sockets[0].getsockname()[1])

    async def one(number: int) -> None:
        dice = random.Random(number)
        url = server.url(PortForwardCall(LoopbackDialler()))
        async with SpdyClient.connect(url, "portforward.k8s.io") as client:
            for request in range(dice.randrange(6)):
                headers = {"port": dice.choice([port, port, "9"]), "requestid": str(request)}
                await client.open(streamtype="error", **headers)
                if dice.random() < 0.2:
                    continue
                data = await client.open(streamtype="data", **headers)
                with contextlib.suppress(TimeoutError, AssertionError, OSError, ValueError):
                    async with asyncio.timeout(0.05):
                        await client.send(data, bytes(dice.randrange(100_000)))
                match dice.randrange(3):
                    case 0:
                        client.session.reset(data)
                    case 1:
                        client.session.end(data)
                    case _:
                        pass
                client.flush()

    async with pod:
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(one(number))
        await until(lambda: not server.sessions, 20)
        await until(lambda: not open_connections, 20)
