"""`cri-shim pod` as a person uses it: exec and attach in a terminal and in a pipe, port-forward, logs that follow."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest_asyncio

from e2e.harness.eventually import eventually
from e2e.harness.patience import patiently
from e2e.harness.terminal import terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Pod, Workloads

END_SECONDS = 60.0
MEBIBYTES = 64


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


def pod_command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "cri.app.cli", "pod", *arguments)


def environment(node: Node) -> dict[str, str]:
    return {**os.environ, "CONTAINER_RUNTIME_ENDPOINT": f"unix://{node.server.endpoint}"}


@contextlib.asynccontextmanager
async def running(node: Node, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command with pipes for streams, interrupted at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *pod_command(*arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(node),
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(patiently(END_SECONDS)):
            await process.communicate()


async def test_exec_in_a_terminal(node: Node, pod: Pod) -> None:
    container = await pod.sleeper()
    command = pod_command("exec", "-it", pod.id, "--", "sh")
    async with terminal(*command, rows=33, columns=99, environment=environment(node)) as screen:
        await screen.until(b"# ")
        screen.type(b"stty size\r")
        await screen.until(b"33 99")
        screen.resize(44, 111)
        screen.type(b"until stty size | grep '44 111'; do sleep 0.1; done\r")
        await screen.until(b"44 111\r\n")
        screen.type(b"sleep 4321\r")
        await container.until_process("sleep 4321", runs=True)
        screen.type(b"\x03")  # ends the sleep and not the command
        await container.until_process("sleep 4321", runs=False)
        screen.type(b"exit 7\r")
        assert await screen.ended() == 7


async def test_exec_in_a_pipe_is_byte_exact(node: Node, pod: Pod) -> None:
    await pod.sleeper()
    data = os.urandom(1 << 20) * MEBIBYTES
    async with running(node, "exec", "-i", pod.id, "--", "sh", "-c", "cat; echo end >&2; exit 3") as process:
        async with asyncio.timeout(patiently(END_SECONDS)):
            out, err = await process.communicate(data)
        assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
        assert (err, process.returncode) == (b"end\n", 3)


async def test_attach_in_a_terminal(node: Node, pod: Pod) -> None:
    await pod.run(command=["sh"], stdin=True, tty=True)
    command = pod_command("attach", "-it", pod.id)
    async with terminal(*command, rows=33, columns=99, environment=environment(node)) as screen:
        screen.type(b"\r")
        await screen.until(b"# ")
        screen.type(b"until stty size | grep '33 99'; do sleep 0.1; done\r")
        await screen.until(b"33 99\r\n")
        screen.type(b"exit\r")
        assert await screen.ended() == 0


async def test_port_forward(node: Node, pod: Pod) -> None:
    web = await pod.run(command=["sh", "-c", "nc -ll -p 8080 -e cat"])
    await eventually(
        lambda: web.execute("sh", "-c", "netstat -ltn | grep :8080"),
        lambda answer: answer.exit_code == 0,
        "the port in the pod",
    )
    async with running(node, "port-forward", pod.id, ":8080") as process:
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode()
        assert said.startswith("forwarding 127.0.0.1:"), said
        port = int(said.split()[1].rpartition(":")[2])

        async def echoed(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.write_eof()
            try:
                return await reader.read()
            finally:
                writer.close()

        for _ in range(4):  # two at a time, because busybox's nc resets some of more that come at once
            sent = [os.urandom(8 << 20) for _ in range(2)]
            async with asyncio.timeout(patiently(END_SECONDS)):
                assert await asyncio.gather(*map(echoed, sent)) == sent
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(patiently(END_SECONDS)):
            assert b"interrupted" in await process.stdout.read()


async def test_logs_are_followed_to_the_containers_end(node: Node, pod: Pod) -> None:
    script = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; sleep 0.01; done; echo end >&2"
    container = await pod.run(command=["sh", "-c", script])
    async with running(node, "logs", "-f", pod.id) as process:
        assert process.stdout is not None
        first = await process.stdout.readline()
        container.log_file.rename(container.log_file.with_name("0.log.rotated"))
        await container.reopen_log()
        async with asyncio.timeout(patiently(END_SECONDS)):
            out, err = await process.communicate()
        assert (first + out).split() == [b"%d" % number for number in range(1, 501)]
        assert (err, process.returncode) == (b"end\n", 0)
