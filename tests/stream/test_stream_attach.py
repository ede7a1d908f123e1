"""Attach sessions on real sockets, with a container in memory."""

from __future__ import annotations

import asyncio
import json

import pytest

from cri.errors import FailedPrecondition
from cri.stream.endpoints import AttachCall, Streams, TerminalSize
from cri.stream.server import StreamServer
from tests.double.containerd import until
from tests.stream.stream_clients import SocketClient, SpdyClient
from tests.stream.stream_fakes import FakeContainer

ALL = Streams(stdin=True, stdout=True, stderr=True)
OUTPUT = Streams(stdout=True, stderr=True)


async def open_all(client: SpdyClient, streams: Streams = ALL) -> dict[str, int]:
    kinds = ["error", *(["stdin"] if streams.stdin else []), "stdout", "stderr"]
    return {kind: await client.open(streamtype=kind) for kind in kinds}


async def test_several_clients_see_the_end_of_the_container(server: StreamServer):
    containers = [FakeContainer(), FakeContainer()]
    async with (
        SpdyClient.connect(server.url(AttachCall(OUTPUT, containers[0].attach))) as first,
        SpdyClient.connect(server.url(AttachCall(OUTPUT, containers[1].attach))) as second,
    ):
        for client, container in ((first, containers[0]), (second, containers[1])):
            streams = await open_all(client, OUTPUT)
            await container.live.put(("stdout", b"out"))
            await container.live.put(("stderr", b"err"))
            await container.live.put(None)
            assert json.loads(await client.content(streams["error"]))["status"] == "Success"
            assert client.received[streams["stdout"]] == b"out"
            assert client.received[streams["stderr"]] == b"err"
            await client.until(lambda client=client: client.closed)
    assert [container.detached for container in containers] == [1, 1]


async def test_input_and_sizes_reach_the_container(server: StreamServer):
    container = FakeContainer()
    call = AttachCall(Streams(stdin=True, stdout=True, terminal=True), container.attach)
    async with SocketClient.connect(server.url(call), "v5.channel.k8s.io") as client:
        await client.send(b"\x00typed")
        await client.send(b'\x04{"Width":10,"Height":20}')
        await until(lambda: bool(container.written and container.sizes))
        assert container.written == b"typed"
        assert container.sizes == [TerminalSize(10, 20)]
        assert not container.stdin_ends


async def test_the_end_of_input_detaches_where_others_may_follow(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cri.stream.attach_session.ANSWER_SECONDS", 0.1)
    container = FakeContainer()
    async with SpdyClient.connect(server.url(AttachCall(ALL, container.attach))) as client:
        streams = await open_all(client)
        await client.send(streams["stdin"], b"line")
        client.end(streams["stdin"])
        await until(lambda: container.stdin_ends == 1)
        await container.live.put(("stdout", b"answer"))
        assert json.loads(await client.content(streams["error"]))["status"] == "Success"
        assert client.received[streams["stdout"]] == b"answer"
    assert container.written == b"line"


async def test_the_end_of_input_keeps_the_one_client_until_the_container_ends(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cri.stream.attach_session.ANSWER_SECONDS", 0.0)
    container = FakeContainer()
    container.stdin_once = True
    async with SpdyClient.connect(server.url(AttachCall(ALL, container.attach))) as client:
        streams = await open_all(client)
        client.end(streams["stdin"])
        await until(lambda: container.stdin_ends == 1)
        await asyncio.sleep(0.05)
        assert not client.ended
        await container.live.put(("stdout", b"late"))
        await container.live.put(None)
        await client.content(streams["error"])
        assert client.received[streams["stdout"]] == b"late"


async def test_a_client_that_leaves_ends_its_input_after_what_it_wrote(server: StreamServer):
    container = FakeContainer()
    container.stdin_once = True
    async with SpdyClient.connect(server.url(AttachCall(ALL, container.attach))) as client:
        streams = await open_all(client)
        await client.send(streams["stdin"], b"last words")
        client.vanish()
        await until(lambda: container.detached == 1)
    assert container.written == b"last words"
    assert container.stdin_ends == 1


async def test_a_container_that_cannot_be_attached_to(server: StreamServer):
    def start():
        raise FailedPrecondition("container web is in state CONTAINER_EXITED; nobody can attach to it")

    async with SpdyClient.connect(server.url(AttachCall(OUTPUT, start))) as client:
        streams = await open_all(client, OUTPUT)
        assert "nobody can attach" in json.loads(await client.content(streams["error"]))["message"]
