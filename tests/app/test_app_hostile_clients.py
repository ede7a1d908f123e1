"""Clients that do not speak the protocol, or abuse it: they are shut out, and everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from api.wire import criv1
from tests.app import http2_frames as h2
from tests.app.served import Served, served
from tests.double import ContainerdDouble

VERSION = "/runtime.v1.RuntimeService/Version"
STATUS = "/runtime.v1.RuntimeService/Status"
MEBIBYTE = 1 << 20
PATIENCE_SECONDS = 20.0


@pytest_asyncio.fixture
async def server(containerd: ContainerdDouble, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(containerd, tmp_path) as running:
        yield running
        await running.cri.version(deadline_seconds=PATIENCE_SECONDS)


async def send(server: Served, payload: bytes) -> bytes:
    """Send all of it, as far as the server takes it, and answer what it said until it closed or fell silent."""
    reader, writer = await asyncio.open_unix_connection(str(server.socket))
    said = bytearray()

    async def listen() -> None:
        while chunk := await reader.read(1 << 16):
            said.extend(chunk)

    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionError, TimeoutError):
            listening = asyncio.get_running_loop().create_task(asyncio.wait_for(listen(), 1.0))
            writer.write(payload)
            await writer.drain()
            await listening
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return bytes(said)


def ids(count: int) -> range:
    """Stream ids of a client."""
    return range(1, 2 * count + 1, 2)


NOISE = random.Random(7).randbytes(64 * 1024)
ABUSE = {
    "noise": NOISE,
    "silence": b"",
    "HTTP/1": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000001fc0303") + NOISE[:500],
    "half a preface": h2.PREFACE[:10],
    "preface and noise": h2.PREFACE + NOISE,
    "frames of noise": h2.opening()
    + b"".join(h2.frame(number % 256, number % 7, number, NOISE[:40]) for number in range(2000)),
    "a frame too large": h2.opening() + h2.frame(h2.DATA, 0, 1, b"x" * (MEBIBYTE)),
    "data without a call": h2.opening() + h2.message(1),
    "headers that never end": h2.opening()
    + h2.headers(1, VERSION, 0)
    + h2.frame(h2.CONTINUATION, 0, 1, NOISE[:16000]) * 200,
    "a message cut short": h2.opening() + h2.headers(1, VERSION) + h2.message(1, b"x" * 1000)[:20],
    "a message that is none": h2.opening() + h2.headers(1, VERSION) + h2.message(1, b"\xff" * 100),
    "a window too wide": h2.opening() + h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 10,
    "a flood of settings": h2.opening() + h2.frame(h2.SETTINGS) * 50_000,
    "a flood of pings": h2.opening() + h2.frame(h2.PING, 0, 0, b"12345678") * 50_000,
    "rapid reset": h2.opening() + b"".join(h2.headers(each, STATUS) + h2.reset(each) for each in ids(20_000)),
    "rapid reset of whole calls": h2.opening()
    + b"".join(h2.headers(each, STATUS) + h2.message(each) + h2.reset(each) for each in ids(20_000)),
    "no such method": h2.opening()
    + b"".join(h2.headers(each, "/no/such") + h2.message(each) for each in ids(5000)),
}


@pytest.mark.parametrize("name", ABUSE)
async def test_others_are_served_during_and_after_abuse(server: Served, name: str):
    before = len(asyncio.all_tasks())
    abuse = asyncio.get_running_loop().create_task(send(server, ABUSE[name]))
    while not abuse.done():
        await server.cri.version(deadline_seconds=PATIENCE_SECONDS)
        await asyncio.sleep(0.05)
    await abuse
    await server.cri.version(deadline_seconds=PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(asyncio.all_tasks()) > before + 20:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.05)


async def test_a_flood_of_pings_is_cut_off(server: Served):
    said = await send(server, ABUSE["a flood of pings"])
    assert b"too_many_pings" in said, "the server does not go on answering"


async def test_a_message_above_the_limit_is_refused(server: Served):
    options = [("grpc.max_send_message_length", -1), ("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(f"unix:{server.socket}", options=options) as channel:
        runtime = criv1.RuntimeServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await runtime.Version(criv1.VersionRequest(version="x" * 17 * MEBIBYTE))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in refused.value.details()
        await runtime.Version(criv1.VersionRequest(version="x" * 15 * MEBIBYTE))


async def test_many_idle_connections_hold_nobody_up(server: Served):
    writers = []
    for number in range(300):
        _, writer = await asyncio.open_unix_connection(str(server.socket))
        writer.write(h2.opening() if number % 2 else b"PRI")
        writers.append(writer)
    assert (await server.cri.version(deadline_seconds=PATIENCE_SECONDS)).version
    for writer in writers:
        writer.close()


async def test_only_its_owner_may_connect(server: Served):
    assert server.socket.stat().st_mode & 0o777 == 0o600
    assert server.socket.stat().st_uid == os.getuid()
