"""Exec sessions on real sockets, with a process in memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json

import pytest

from cri.errors import FailedPrecondition
from cri.stream.endpoints import ExecCall, Streams, TerminalSize
from cri.stream.server import StreamServer
from tests.double.containerd import until
from tests.stream.stream_clients import SocketClient, SpdyClient, abandon
from tests.stream.stream_fakes import FakeProcess, fake_exec

ALL = Streams(stdin=True, stdout=True, stderr=True)
TERMINAL = Streams(stdin=True, stdout=True, terminal=True)
SUCCESS = {"metadata": {}, "status": "Success"}


async def cat(process: FakeProcess) -> int:
    while block := await process.stdin.get():
        await process.write(block)
    return 0


async def complain(process: FakeProcess) -> int:
    await process.write(b"out")
    await process.write(b"err", "stderr")
    return 3


async def open_all(client: SpdyClient) -> dict[str, int]:
    return {kind: await client.open(streamtype=kind) for kind in ("error", "stdin", "stdout", "stderr")}


async def test_input_comes_back_and_ends_with_the_half_close(server: StreamServer):
    call, processes = fake_exec(cat, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        streams = await open_all(client)
        await client.send(streams["stdin"], b"hello")
        client.end(streams["stdin"])
        assert await client.content(streams["stdout"]) == b"hello"
        assert json.loads(await client.content(streams["error"])) == SUCCESS
        await client.until(lambda: client.closed)
    assert client.ended.index(streams["stdout"]) < client.ended.index(streams["error"])
    assert processes[0].stdin_ended == 1
    assert processes[0].removed.is_set()


async def test_output_then_exit_code_then_close(server: StreamServer):
    call, _ = fake_exec(complain, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        streams = await open_all(client)
        status = json.loads(await client.content(streams["error"]))
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        assert client.received[streams["stdout"]] == b"out"
        assert client.received[streams["stderr"]] == b"err"
        await client.until(lambda: client.closed)


@pytest.mark.parametrize("protocol", ["channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"])
async def test_old_versions_get_text_of_failures_only(server: StreamServer, protocol: str):
    for program, expected in ((complain, b"command terminated with exit code 3"), (cat, b"")):
        call, _ = fake_exec(program, ALL)
        async with SpdyClient.connect(server.url(call), f"nonsense, {protocol}") as client:
            assert client.protocol == protocol
            streams = await open_all(client)
            client.end(streams["stdin"])
            assert await client.content(streams["error"]) == expected
            await client.until(lambda: client.closed)


async def test_a_failed_start_is_told(server: StreamServer):
    def start():
        raise FailedPrecondition("container web is in state CONTAINER_EXITED")

    async with SpdyClient.connect(server.url(ExecCall(ALL, start))) as client:
        streams = await open_all(client)
        status = json.loads(await client.content(streams["error"]))
        assert status["status"] == "Failure"
        assert status["message"] == "container web is in state CONTAINER_EXITED"


async def test_terminal_sizes_reach_the_process(server: StreamServer):
    call, processes = fake_exec(cat, TERMINAL)
    async with SpdyClient.connect(server.url(call)) as client:
        kinds = ("error", "stdin", "stdout", "resize")
        streams = {kind: await client.open(streamtype=kind) for kind in kinds}
        await client.send(streams["resize"], b'{"Width":80,"Height":24}\n')
        await until(lambda: bool(processes and processes[0].sizes))
        assert processes[0].sizes == [TerminalSize(80, 24)]
        client.end(streams["stdin"])
        await client.content(streams["error"])


async def test_a_vanished_client_ends_its_process(server: StreamServer):
    async def stubborn(process: FakeProcess) -> int:
        await process.write(b"begun")
        await process.abandoned.wait()
        for _ in range(100):
            await process.write(b"more")  # nobody reads it, and nothing may wait for that
        return 137

    call, processes = fake_exec(stubborn, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        streams = await open_all(client)
        await client.until(lambda: client.received[streams["stdout"]] == b"begun")
        client.vanish()
        async with asyncio.timeout(5):
            await processes[0].removed.wait()
    assert processes[0].abandoned.is_set()
    assert processes[0].stdin_ended == 1


async def test_a_client_that_vanishes_behind_input_that_nobody_reads_ends_its_process(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is read from such a client any more, so its end has to be looked for."""
    monkeypatch.setattr("cri.stream.server.LOOK_SECONDS", 0.05)

    async def deaf(process: FakeProcess) -> int:
        await process.abandoned.wait()
        return 137

    call, processes = fake_exec(deaf, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        streams = await open_all(client)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:  # as Kubernetes' clients, which heed no window
                    client.session._peer_counts = False
                    await client.send(streams["stdin"], bytes(1 << 20))
        abandon(client._writer)
        async with asyncio.timeout(5):
            await processes[0].removed.wait()
    assert processes[0].abandoned.is_set()


async def test_a_client_that_opens_too_few_streams_starts_nothing(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cri.stream.remote_command_session.STREAMS_SECONDS", 0.05)
    call, processes = fake_exec(cat, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        error = await client.open(streamtype="error")
        status = json.loads(await client.content(error))
        assert "did not open its streams" in status["message"]
        await client.until(lambda: client.closed)
    assert not processes


async def test_a_slow_client_makes_the_process_wait(server: StreamServer):
    written = 0

    async def flood(process: FakeProcess) -> int:
        nonlocal written
        for _ in range(1000):
            await process.write(bytes(65536))
            written += 65536
        return 0

    call, _ = fake_exec(flood, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        client.counts = False  # as Kubernetes' clients: only the transport holds the server back
        streams = await open_all(client)
        client.paused.clear()
        settled = -1
        while settled != written:
            settled = written
            await asyncio.sleep(0.2)
        assert written < 20 << 20, f"{written} bytes were taken for a client that does not read"
        client.paused.set()
        assert len(await client.content(streams["stdout"], 30)) == 65536 * 1000


@pytest.mark.parametrize("counts", [True, False])
async def test_much_data_both_ways_with_checksum(server: StreamServer, counts: bool):
    call, _ = fake_exec(cat, ALL)
    block = bytes(range(256)) * 256
    blocks = 256
    async with SpdyClient.connect(server.url(call)) as client:
        client.counts = counts
        streams = await open_all(client)
        for _ in range(blocks):
            await client.send(streams["stdin"], block)
        client.end(streams["stdin"])
        echoed = await client.content(streams["stdout"], 30)
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(block * blocks).digest()
        assert json.loads(await client.content(streams["error"])) == SUCCESS


async def test_input_comes_back_to_a_client_that_heeds_no_windows(server: StreamServer):
    """Its updates are behind what it has sent too much."""
    call, _ = fake_exec(cat, ALL)
    content = bytes(range(256)) * (32 << 10)
    async with SpdyClient.connect(server.url(call)) as client:
        client.heeds = False
        streams = await open_all(client)
        await client.send(streams["stdin"], content[:1])
        await client.until(lambda: client.received[streams["stdout"]])
        await client.send(streams["stdin"], content[1:])
        client.end(streams["stdin"])
        assert await client.content(streams["stdout"], 30) == content
        assert json.loads(await client.content(streams["error"])) == SUCCESS


async def test_input_that_nobody_reads_does_not_cost_the_status(server: StreamServer):
    async def ignore(process: FakeProcess) -> int:
        await process.stdin.get()
        await process.write(b"seen enough")
        return 0

    call, _ = fake_exec(ignore, ALL)
    async with SpdyClient.connect(server.url(call)) as client:
        client.counts = False
        streams = await open_all(client)

        async def upload() -> None:
            while not client.closed and client.session.can_send(streams["stdin"]):
                await client.send(streams["stdin"], bytes(1 << 20))

        async with asyncio.TaskGroup() as group:
            uploading = group.create_task(upload())
            assert await client.content(streams["stdout"]) == b"seen enough"
            assert json.loads(await client.content(streams["error"])) == SUCCESS
            uploading.cancel()


async def test_websocket_with_close_of_stdin(server: StreamServer):
    call, processes = fake_exec(cat, ALL)
    async with SocketClient.connect(server.url(call), "v5.channel.k8s.io") as client:
        await client.until(lambda: bool(client.messages))
        assert client.messages[0] == b"\x01", "an empty message tells that the connection stands"
        await client.send(b"\x00hello")
        await client.send(b"\xff\x00")
        await client.until(lambda: client.closed)
        assert client.content(1) == b"hello"
        assert json.loads(client.content(3)) == SUCCESS
        assert client.close_code == 1000
        assert 255 not in {message[0] for message in client.messages}
    assert processes[0].stdin_ended == 1


@pytest.mark.parametrize("protocol", ["", "channel.k8s.io", "v4.channel.k8s.io"])
async def test_websocket_channels(server: StreamServer, protocol: str):
    call, _ = fake_exec(complain, ALL)
    async with SocketClient.connect(server.url(call), protocol) as client:
        assert client.protocol == protocol
        await client.until(lambda: client.closed)
        assert (client.content(1), client.content(2)) == (b"out", b"err")
        if protocol == "v4.channel.k8s.io":
            assert json.loads(client.content(3))["reason"] == "NonZeroExitCode"
        else:
            assert client.content(3) == b"command terminated with exit code 3"


async def test_websocket_in_base64(server: StreamServer):
    call, _ = fake_exec(cat, ALL)
    async with SocketClient.connect(server.url(call), "v4.base64.channel.k8s.io") as client:
        await client.send("0aGVsbG8=")
        await client.until(lambda: b"1aGVsbG8=" in client.messages)


async def test_a_websocket_client_that_leaves_in_good_order_ends_its_process(server: StreamServer):
    async def stubborn(process: FakeProcess) -> int:
        await process.abandoned.wait()
        return 137

    call, processes = fake_exec(stubborn, ALL)
    async with SocketClient.connect(server.url(call), "v4.channel.k8s.io") as client:
        await client.until(lambda: bool(client.messages))
        client.socket.close()
        await client.flush()
        await client.until(lambda: client.closed)
    async with asyncio.timeout(5):
        await processes[0].removed.wait()


async def test_fifty_sessions_at_once(server: StreamServer):
    async def one(number: int) -> None:
        call, _ = fake_exec(cat, ALL)
        async with SpdyClient.connect(server.url(call)) as client:
            streams = await open_all(client)
            await client.send(streams["stdin"], b"%d" % number * 10000)
            client.end(streams["stdin"])
            assert await client.content(streams["stdout"]) == b"%d" % number * 10000

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(one(number))
    await until(lambda: not server.sessions)
