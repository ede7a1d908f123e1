"""Exec, attach and port-forward as `kubectl` and `crictl` use them, over SPDY and WebSocket.

E2E_STREAM_MEBIBYTES says how much the large streams carry each way, E2E_EXECS how many execs follow one another.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.bench.streams import exec_output
from e2e.harness.configured import configured
from e2e.harness.eventually import eventually
from e2e.harness.patience import patiently
from e2e.harness.registry import self_signed
from tests.stream.stream_clients import SocketClient, SpdyClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

MEBIBYTES = int(os.environ.get("E2E_STREAM_MEBIBYTES", "200"))
LARGE_STREAM_SECONDS = patiently(60.0 + MEBIBYTES / 5)
EXECS = int(os.environ.get("E2E_EXECS", "100"))
SPARE = 3
MEBIBYTE = bytes(range(256)) * 4096
SUCCESS = "Success"
UNTIL_SIZED = b"until stty -a | grep -q '%s'; do sleep 0.1; done; echo si''zed\n"
STREAMS = ("error", "stdin", "stdout", "stderr")


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


@pytest_asyncio.fixture(loop_scope="session")
async def container(pod: Pod) -> Container:
    return await pod.sleeper()


async def exec_url(container: Container, *command: str, **streams: bool) -> str:
    wanted = streams or {"stdin": True, "stdout": True, "stderr": True}
    request = criv1.ExecRequest(container_id=container.id, cmd=command, **wanted)
    return (await container.cri.runtime.Exec(request)).url


async def attach_url(container: Container, **streams: bool) -> str:
    wanted = streams or {"stdin": True, "stdout": True, "stderr": True}
    request = criv1.AttachRequest(container_id=container.id, **wanted)
    return (await container.cri.runtime.Attach(request)).url


@contextlib.asynccontextmanager
async def connected(
    url: str, kinds: Sequence[str] = STREAMS
) -> AsyncIterator[tuple[SpdyClient, dict[str, int]]]:
    """A client as Kubernetes' are: over SPDY, without flow control."""
    async with SpdyClient.connect(url, "v4.channel.k8s.io") as client:
        client.counts = False
        yield client, {kind: await client.open(streamtype=kind) for kind in kinds}


def descriptors(node: Node) -> int:
    """How many files, FIFOs and sockets the server has open."""
    return len(os.listdir(f"/proc/{node.server.pid}/fd"))


async def until_closed(node: Node, before: int) -> None:
    """Wait until the server has not much more open than before: some of its libraries open more under load, once."""

    async def now() -> int:
        return descriptors(node)

    await eventually(now, lambda count: count <= before + SPARE, f"{before} descriptors", patiently(30))


def exit_code(status: bytes) -> int:
    """What the error stream says."""
    told: dict[str, Any] = json.loads(status)
    if told["status"] == SUCCESS:
        return 0
    assert told["reason"] == "NonZeroExitCode", told
    return int(told["details"]["causes"][0]["message"])


async def test_exec_gives_streams_and_exit_code(container: Container) -> None:
    url = await exec_url(container, "sh", "-c", "echo out; echo err >&2; exit 3")
    async with connected(url) as (client, ids):
        assert exit_code(await client.content(ids["error"])) == 3
        assert (client.received[ids["stdout"]], client.received[ids["stderr"]]) == (b"out\n", b"err\n")
        await client.until(lambda: client.closed)


@pytest.mark.cri_shim_only
async def test_exec_over_websocket(container: Container) -> None:
    """containerd's plugin does not speak version 5."""
    url = await exec_url(container, "sh", "-c", "cat; echo err >&2; exit 3")
    async with SocketClient.connect(url, "v5.channel.k8s.io") as client:
        await client.send(b"\x00input")
        await client.send(b"\xff\x00")
        await client.until(lambda: client.closed)
        assert (client.content(1), client.content(2)) == (b"input", b"err\n")
        assert exit_code(client.content(3)) == 3


async def test_half_close_of_stdin_ends_nothing_else(container: Container) -> None:
    url = await exec_url(container, "sh", "-c", "wc -c; sleep 0.5; echo still here")
    async with connected(url) as (client, ids):
        await client.send(ids["stdin"], b"12345")
        client.end(ids["stdin"])
        assert await client.content(ids["stdout"]) == b"5\nstill here\n"
        assert exit_code(await client.content(ids["error"])) == 0


def assert_echoed(received: bytes | bytearray) -> None:
    """It is MEBIBYTE again and again; compared by checksum, because a difference would take minutes to show."""
    expected, found = hashlib.sha256(), hashlib.sha256(received)
    for _ in range(MEBIBYTES):
        expected.update(MEBIBYTE)
    assert len(received) == MEBIBYTES << 20
    assert found.digest() == expected.digest()


@pytest.mark.timeout(2 * LARGE_STREAM_SECONDS)
async def test_much_data_both_ways_with_checksum(container: Container) -> None:
    async with connected(await exec_url(container, "cat")) as (client, ids), asyncio.TaskGroup() as group:

        async def upload() -> None:
            for _ in range(MEBIBYTES):
                await client.send(ids["stdin"], MEBIBYTE)
            client.end(ids["stdin"])

        group.create_task(upload())
        assert_echoed(await client.content(ids["stdout"], LARGE_STREAM_SECONDS))
        assert exit_code(await client.content(ids["error"])) == 0


@pytest.mark.cri_shim_only
@pytest.mark.timeout(2 * LARGE_STREAM_SECONDS)
async def test_much_data_both_ways_over_websocket(container: Container) -> None:
    """containerd's plugin does not speak version 5."""
    url = await exec_url(container, "cat")
    async with SocketClient.connect(url, "v5.channel.k8s.io") as client, asyncio.TaskGroup() as group:

        async def upload() -> None:
            for _ in range(MEBIBYTES):
                await client.send(b"\x00" + MEBIBYTE)
            await client.send(b"\xff\x00")

        group.create_task(upload())
        await client.until(lambda: client.closed, LARGE_STREAM_SECONDS)
        assert_echoed(client.content(1))
        assert exit_code(client.content(3)) == 0


@pytest.mark.cri_shim_only
async def test_input_that_nobody_reads_does_not_cost_the_status(container: Container) -> None:
    """containerd's plugin stalls behind the unread input."""
    async with connected(await exec_url(container, "head", "-c", "1")) as (client, ids):

        async def upload() -> None:
            with contextlib.suppress(AssertionError, OSError):
                while True:
                    await client.send(ids["stdin"], bytes(1 << 20))

        async with asyncio.TaskGroup() as group:
            uploading = group.create_task(upload())
            assert await client.content(ids["stdout"]) == b"\0"
            assert exit_code(await client.content(ids["error"])) == 0
            uploading.cancel()


async def test_a_command_that_does_not_exist(container: Container) -> None:
    async with connected(await exec_url(container, "no-such-program")) as (client, ids):
        told = json.loads(await client.content(ids["error"]))
        assert told["status"] == "Failure"
        assert "no-such-program" in told["message"]


async def test_terminal(container: Container) -> None:
    url = await exec_url(container, "sh", stdin=True, stdout=True, tty=True)
    async with connected(url, ("error", "stdin", "stdout", "resize")) as (client, ids):
        await client.send(ids["resize"], b'{"Width":123,"Height":45}\n')
        await client.send(ids["stdin"], UNTIL_SIZED % b"rows 45; columns 123")
        await client.until(lambda: b"sized" in client.received[ids["stdout"]])
        await client.send(ids["stdin"], b"echo $TERM; exit 7\n")
        assert exit_code(await client.content(ids["error"])) == 7
        assert b"xterm" in client.received[ids["stdout"]]


async def test_a_vanished_client_ends_what_reads_its_input(container: Container) -> None:
    url = await exec_url(container, "sh", "-c", "cat; echo the end of cat $$ > /tmp/vanished")
    async with connected(url) as (client, ids):
        await client.send(ids["stdin"], b"x")
        await client.until(lambda: client.received[ids["stdout"]] == b"x")
        client.vanish()
    await container.until_process("cat", runs=False)


@pytest.mark.cri_shim_only
async def test_a_vanished_client_ends_its_process(container: Container) -> None:
    """containerd's plugin leaves a process that neither reads nor writes behind until the container ends."""
    url = await exec_url(container, "sh", "-c", "echo on; sleep 4321", stdout=True)
    async with connected(url, ("error", "stdout")) as (client, ids):
        await client.until(lambda: client.received[ids["stdout"]] == b"on\n")
        client.vanish()
    await container.until_process("sleep 4321", runs=False)


@pytest.mark.timeout(60 + EXECS)
async def test_many_execs_in_a_row_leave_nothing(node: Node, container: Container) -> None:
    """Neither in the container nor on disk, which is looked at after every test, nor in the server."""
    lanes = 4

    async def some(number: int) -> None:
        for turn in range(EXECS // lanes):
            url = await exec_url(container, "echo", f"{number} {turn}", stdout=True)
            async with connected(url, ("error", "stdout")) as (client, ids):
                assert await client.content(ids["stdout"], 30) == f"{number} {turn}\n".encode()
                assert exit_code(await client.content(ids["error"], 30)) == 0

    await some(0)  # what is opened once stays open
    before = descriptors(node)
    async with asyncio.TaskGroup() as group:
        for number in range(lanes):
            group.create_task(some(number))
    await until_closed(node, before)
    await container.until_process("echo", runs=False)


async def test_fifty_sessions_at_once(container: Container) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(connected(await exec_url(container, "cat"))) for _ in range(50)
        ]
        for number, (client, ids) in enumerate(sessions):
            await client.send(ids["stdin"], b"%d" % number)
        for number, (client, ids) in enumerate(sessions):
            await client.until(lambda c=client, i=ids, n=number: c.received[i["stdout"]] == b"%d" % n, 60)
            client.end(ids["stdin"])
        for client, ids in sessions:
            assert exit_code(await client.content(ids["error"], 30)) == 0


async def test_a_slow_client_does_not_delay_others(container: Container, cri: Cri) -> None:
    url = await exec_url(container, "cat", "/dev/zero", stdout=True)
    async with connected(url, ("error", "stdout")) as (client, _):
        client.paused.clear()
        await asyncio.sleep(0.5)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            await container.status()
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.5, f"a status took {slowest:.3f} s beside an exec that nobody reads"
        client.paused.set()


async def test_a_fast_client_of_a_fast_command_does_not_delay_others(container: Container) -> None:
    """Neither side ever makes the server wait, so it has to give the others their turn by itself."""
    count = MEBIBYTES << 20
    url = await exec_url(container, "sh", "-c", f"head -c {count} /dev/zero | cat", stdout=True)
    slowest = 0.0
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(asyncio.to_thread(exec_output, url, count))
        while not receiving.done():
            began = time.monotonic()
            await container.status()
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < patiently(0.5), f"a status took {slowest:.3f} s beside a fast exec"


async def test_attach_shows_live_output_and_ends_with_the_container(pod: Pod) -> None:
    ticking = "(while sleep 0.1; do echo tick; done) & "  # which shows that a client is attached
    script = f"echo before; {ticking} read line; kill $!; echo got $line; echo problem >&2"
    container = await pod.run(command=["sh", "-c", script], stdin=True, stdin_once=True)
    await eventually(
        lambda: asyncio.to_thread(lambda: container.log_file.exists() and container.log_file.read_bytes()),
        lambda content: b"before" in (content or b""),
        "the first line in the log",
    )
    url, watching = await attach_url(container), await attach_url(container, stdout=True, stderr=True)
    async with (
        connected(url) as (client, ids),
        connected(watching, ("error", "stdout", "stderr")) as (other, theirs),
    ):
        clients = ((client, ids), (other, theirs))
        for each, streams in clients:
            await each.until(lambda each=each, streams=streams: each.received[streams["stdout"]], 30)
        await client.send(ids["stdin"], b"hello\n")
        for each, streams in clients:
            assert exit_code(await each.content(streams["error"], 30)) == 0
            live = each.received[streams["stdout"]].replace(b"tick\n", b"")
            assert live == b"got hello\n", "live output only"
            assert each.received[streams["stderr"]] == b"problem\n"
            await each.until(lambda each=each: each.closed)
    logged = {line.content for line in await container.settled_log()}
    assert logged == {b"before", b"tick", b"got hello", b"problem"}


async def test_stdin_once_ends_the_containers_input(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", "wc -c"], stdin=True, stdin_once=True)
    async with connected(await attach_url(container)) as (client, ids):
        await client.send(ids["stdin"], b"12345")
        client.end(ids["stdin"])
        assert await client.content(ids["stdout"], 30) == b"5\n"
        assert exit_code(await client.content(ids["error"], 30)) == 0
    assert (await container.exited()).exit_code == 0


async def test_stdin_stays_open_for_the_next(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", "while read line; do echo got $line; done"], stdin=True)
    for word in (b"one", b"two"):
        async with connected(await attach_url(container)) as (client, ids):
            await client.send(ids["stdin"], word + b"\n")
            await client.until(
                lambda word=word, c=client, i=ids: c.received[i["stdout"]] == b"got " + word + b"\n"
            )
            client.end(ids["stdin"])
            await client.content(ids["error"], 30)
    assert (await container.status()).state == criv1.CONTAINER_RUNNING


async def test_attached_terminal(pod: Pod) -> None:
    container = await pod.run(command=["sh"], stdin=True, tty=True)
    url = await attach_url(container, stdin=True, stdout=True, tty=True)
    async with connected(url, ("error", "stdin", "stdout", "resize")) as (client, ids):
        await client.send(ids["resize"], b'{"Width":99,"Height":33}\n')
        await client.send(ids["stdin"], UNTIL_SIZED % b"rows 33; columns 99")
        await client.until(lambda: b"sized" in client.received[ids["stdout"]])
        await client.send(ids["stdin"], b"exit\n")
        assert exit_code(await client.content(ids["error"], 30)) == 0


@pytest.mark.cri_shim_only
async def test_a_stuck_client_does_not_delay_the_log(pod: Pod) -> None:
    """containerd's plugin loses the end of the log then."""
    container = await pod.run(command=["sh", "-c", "read go; seq 1 300000"], stdin=True, stdin_once=True)
    stuck, typing = await attach_url(container, stdout=True), await attach_url(container)
    async with (
        connected(stuck, ("error", "stdout")) as (client, _),
        connected(typing) as (other, ids),
    ):
        client.paused.clear()
        await other.send(ids["stdin"], b"go\n")
        assert (await container.exited()).exit_code == 0
        lines = await container.settled_log()
        client.paused.set()
    assert (len(lines), lines[-1].content) == (300000, b"300000")


async def port_forward_url(pod: Pod, *ports: int) -> str:
    request = criv1.PortForwardRequest(pod_sandbox_id=pod.id, port=ports)
    return (await pod.cri.runtime.PortForward(request)).url


async def open_pair(client: SpdyClient, port: int, request: int) -> tuple[int, int]:
    headers = {"port": str(port), "requestid": str(request)}
    error = await client.open(streamtype="error", **headers)
    client.end(error)
    return error, await client.open(streamtype="data", **headers)


@pytest_asyncio.fixture(loop_scope="session")
async def web(pod: Pod) -> Container:
    """Serves `page` on port 8080 of the pod's loopback."""
    script = "mkdir /www; echo page > /www/index.html; exec httpd -f -h /www -p 127.0.0.1:8080"
    container = await pod.run("web", command=["sh", "-c", script])
    await eventually(
        lambda: container.execute("wget", "-q", "-O", "-", "http://127.0.0.1:8080/"),
        lambda answer: answer.exit_code == 0,
        "the web server's answer",
    )
    return container


GET = b"GET / HTTP/1.0\r\n\r\n"


async def test_port_forward_to_loopback_in_the_pod(pod: Pod, web: Container) -> None:
    async with SpdyClient.connect(await port_forward_url(pod), "portforward.k8s.io") as client:
        client.counts = False
        for request in range(5):
            error, data = await open_pair(client, 8080, request)
            await client.send(data, GET)
            assert (await client.content(data)).endswith(b"page\n")
            client.end(data)
            assert await client.content(error) == b""


async def test_a_refused_port_fails_alone(pod: Pod, web: Container) -> None:
    async with SpdyClient.connect(await port_forward_url(pod), "portforward.k8s.io") as client:
        error, _ = await open_pair(client, 9, 1)
        assert b"9" in await client.content(error)
        _, data = await open_pair(client, 8080, 2)
        await client.send(data, GET)
        assert (await client.content(data)).endswith(b"page\n")


async def test_port_forward_over_websocket_channels(pod: Pod, web: Container) -> None:
    async with SocketClient.connect(await port_forward_url(pod, 8080), "v4.channel.k8s.io") as client:
        await client.send(b"\x00" + GET)
        await client.until(lambda: client.closed)
        assert client.content(0).startswith((8080).to_bytes(2, "little"))
        assert client.content(0).endswith(b"page\n")


@pytest.mark.timeout(2 * LARGE_STREAM_SECONDS)
async def test_much_data_through_a_port(pod: Pod) -> None:
    await pod.run("echo", command=["nc", "-ll", "-p", "7777", "-e", "cat"])
    async with SpdyClient.connect(await port_forward_url(pod), "portforward.k8s.io") as client:
        client.counts = False
        data = await _answering(client, 7777)

        async def upload() -> None:
            for _ in range(MEBIBYTES):
                await client.send(data, MEBIBYTE)
            client.end(data)

        async with asyncio.TaskGroup() as group:
            group.create_task(upload())
            assert_echoed(await client.content(data, LARGE_STREAM_SECONDS))


async def _answering(client: SpdyClient, port: int) -> int:
    """A data stream to a port that may not be open yet."""
    async with asyncio.timeout(20):
        for request in range(1000):
            error, data = await open_pair(client, port, request)
            await asyncio.sleep(0.1)
            if not client.received[error] and data not in client.reset:
                return data
    raise AssertionError("unreachable")


async def test_port_forward_on_the_hosts_network(workloads: Workloads) -> None:
    pod = await workloads.pod("host", host_network=True)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"host")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with SpdyClient.connect(await port_forward_url(pod), "portforward.k8s.io") as client:
            _, data = await open_pair(client, port, 0)
            assert await client.content(data) == b"host"


@pytest.mark.cri_shim_only
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_servers_end_ends_its_execs(node: Node, container: Container, end: str) -> None:
    """containerd's plugin leaves such processes behind."""
    url = await exec_url(container, "sh", "-c", "echo on; sleep 8642", stdout=True)
    async with connected(url, ("error", "stdout")) as (client, ids):
        await client.until(lambda: client.received[ids["stdout"]] == b"on\n")
        await getattr(node.server, end)()
        await client.until(lambda: client.closed)
    await node.server.start()
    await container.until_process("sleep 8642", runs=False)


@pytest.mark.cri_shim_only
@pytest.mark.parametrize("seed", range(2))
async def test_clients_that_do_as_they_like_leave_nothing(
    node: Node, container: Container, seed: int
) -> None:
    """They stop reading, reset streams, and leave at any moment; the others' answers are complete."""
    dice = random.Random(seed)

    async def misbehave() -> None:
        async with connected(await exec_url(container, "sh", "-c", "yes & cat")) as (client, ids):
            for _ in range(dice.randrange(8)):
                match dice.randrange(4):
                    case 0:
                        client.paused.clear()
                    case 1:
                        client.paused.set()
                    case 2:
                        client.session.reset(dice.choice([*ids.values()]))
                        client.flush()
                    case _:
                        with contextlib.suppress(TimeoutError, AssertionError, OSError, ValueError):
                            async with asyncio.timeout(0.1):
                                await client.send(ids["stdin"], MEBIBYTE[: dice.randrange(1 << 20)])
                await asyncio.sleep(dice.random() / 20)
            client.vanish()

    async def behave() -> None:
        async with connected(await exec_url(container, "seq", "1", "100000")) as (client, ids):
            await asyncio.sleep(dice.random() / 5)
            received = await client.content(ids["stdout"], patiently(40))
            assert received.splitlines() == [b"%d" % number for number in range(1, 100_001)]
            assert exit_code(await client.content(ids["error"], 30)) == 0

    await behave()  # what is opened once stays open
    before = descriptors(node)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(misbehave())
        for _ in range(5):
            group.create_task(behave())
    await until_closed(node, before)
    await container.until_process("yes", runs=False)


@pytest.mark.cri_shim_only
async def test_streams_over_tls_with_a_pair_that_is_replaced(
    node: Node, container: Container, tmp_path: Path
) -> None:
    async def answered(trusted: Path) -> bytes:
        context = ssl.create_default_context(cafile=trusted)
        url = await exec_url(container, "echo", "secret", stdout=True)
        assert url.startswith("https://127.0.0.1:")
        async with SpdyClient.connect(url, context=context) as client:
            error, stdout = [await client.open(streamtype=kind) for kind in ("error", "stdout")]
            assert exit_code(await client.content(error)) == 0
            return bytes(client.received[stdout])

    pair = await self_signed(tmp_path / "first")
    tables = f'''
[x509_key_pair_streaming]
tls_cert_file = "{pair.certificate}"
tls_key_file = "{pair.key}"
'''
    async with configured(node, keys="enable_tls_streaming = true\n", tables=tables):
        assert await answered(pair.certificate) == b"secret\n"
        following = await self_signed(tmp_path / "second")
        os.replace(following.key, pair.key)
        shutil.copy(following.certificate, pair.certificate)
        assert await answered(following.certificate) == b"secret\n"
