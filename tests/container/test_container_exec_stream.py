"""Processes of exec sessions on the containerd double, over real FIFOs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cri.container import exec_stream as module
from cri.container.exec_stream import ContainerProcess, exec_stream
from cri.errors import FailedPrecondition, InvalidArgument
from cri.state.container import Container
from cri.stream.endpoints import OutputName, Streams, TerminalSize
from tests.double.containerd import until
from tests.double.processes import FakeProcess
from tests.double.scripts import STUBBORN, Script
from tests.node import DoubleNode

ALL = Streams(stdin=True, stdout=True, stderr=True)
OUTPUT = Streams(stdout=True, stderr=True)
TERMINAL = Streams(stdin=True, stdout=True, terminal=True)


@pytest_asyncio.fixture
async def container(node: DoubleNode) -> AsyncIterator[Container]:
    _, identifier = await node.running()
    yield node.containers.get(identifier)
    left = node.containerd.leftovers().execs
    assert not left, f"processes are left: {left}"
    directory = node.pods.engine.paths.container_state(identifier) / "exec"
    assert not directory.exists() or not list(directory.iterdir()), "FIFOs are left"


async def all_of(process: ContainerProcess, name: OutputName = "stdout") -> bytes:
    content = b""
    while block := await process.read(name):
        content += block
    return content


def only(node: DoubleNode, container: Container) -> FakeProcess:
    (process,) = node.containerd.state.namespace("k8s.io").tasks[container.id].execs.values()
    return process


async def test_output_and_exit_code(node: DoubleNode, container: Container):
    node.containerd.script("*", Script(stdout=b"out", stderr=b"err", exit_code=7), exec_id="*")
    async with exec_stream(node.pods.engine, container, ("tool",), OUTPUT) as process:
        assert await process.wait() == 7
        assert (await all_of(process), await all_of(process, "stderr")) == (b"out", b"err")


async def test_input_comes_back_and_ends_with_the_close(node: DoubleNode, container: Container):
    async with exec_stream(node.pods.engine, container, ("cat",), ALL) as process:
        block = bytes(range(256)) * 1024
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(all_of(process))
            for _ in range(8):
                await process.write_stdin(block)
            await process.close_stdin()
            await process.close_stdin()
        assert reading.result() == block * 8
        assert await process.wait() == 0


async def test_input_before_the_shim_reads_is_kept(node: DoubleNode, container: Container):
    """The shim says that the process runs and opens its end of stdin only then."""
    async with exec_stream(node.pods.engine, container, ("cat",), ALL) as process:
        fake = only(node, container)
        fake._close_stdin_reader()
        fake.close_stdin()
        await process.write_stdin(b"early")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.write_stdin(bytes(1 << 20)), 0.1)


async def test_input_after_the_end_is_a_broken_pipe(node: DoubleNode, container: Container):
    async with exec_stream(node.pods.engine, container, ("cat",), ALL) as process:
        await process.write_stdin(b"x")
        await until(lambda: bytes(only(node, container).received) == b"x")
        await process.write_stdin(b"y")  # notices that the shim reads
        only(node, container).exit(0)
        only(node, container).close_stdin()
        with pytest.raises(BrokenPipeError):
            await process.write_stdin(b"z")


async def test_without_stdin_there_is_none(node: DoubleNode, container: Container):
    node.containerd.script("*", Script(exit_code=0), exec_id="*")
    async with exec_stream(node.pods.engine, container, ("tool",), OUTPUT) as process:
        with pytest.raises(BrokenPipeError):
            await process.write_stdin(b"x")
        await process.close_stdin()
        assert only(node, container).streams.stdin == ""


async def test_terminals(node: DoubleNode, container: Container):
    async with exec_stream(node.pods.engine, container, ("sh",), TERMINAL) as process:
        fake = only(node, container)
        assert fake.streams.terminal
        assert fake.streams.stderr == ""
        assert "TERM=xterm" in fake.process["env"]
        await process.resize(TerminalSize(80, 24))
        assert fake.size == (80, 24)
        assert await process.read("stderr") == b""
        fake.exit(0)
        assert await process.wait() == 0
        await process.resize(TerminalSize(1, 1))


async def test_a_process_without_terminal_is_not_resized(node: DoubleNode, container: Container):
    async with exec_stream(node.pods.engine, container, ("sh",), OUTPUT) as process:
        await process.resize(TerminalSize(80, 24))
        assert only(node, container).size is None


async def test_an_abandoned_process_is_killed_when_it_does_not_go(
    node: DoubleNode, container: Container, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "HANG_UP_SECONDS", 0.1)
    node.containerd.script("*", STUBBORN, exec_id="*")
    async with exec_stream(node.pods.engine, container, ("daemon",), OUTPUT) as process:
        await process.abandon()
        assert await process.wait() == 128 + signal.SIGKILL
        assert await all_of(process) == b""


async def test_leaving_early_kills(node: DoubleNode, container: Container):
    async with exec_stream(node.pods.engine, container, ("sleep", "1000"), OUTPUT):
        fake = only(node, container)
    assert signal.SIGKILL in fake.signals


async def test_output_that_a_child_holds_open_is_waited_for_only_so_long(
    node: DoubleNode, container: Container
):
    node.containerd.script("*", Script(stdout=b"out", exit_code=0, keeps_output_open=True), exec_id="*")
    async with exec_stream(node.pods.engine, container, ("tool",), OUTPUT) as process:
        process._drain_seconds = 0.05
        assert await process.wait() == 0
        assert await asyncio.wait_for(all_of(process), 5) == b"out"


async def test_a_command_that_cannot_be_started(node: DoubleNode, container: Container):
    with pytest.raises(FailedPrecondition, match="no such file"):
        async with exec_stream(node.pods.engine, container, ("/nonexistent",), OUTPUT):
            pass


async def test_a_container_that_ends_meanwhile(node: DoubleNode, container: Container):
    await node.containers.stop(container.id, 0)
    with pytest.raises(FailedPrecondition, match="CONTAINER_EXITED"):
        async with exec_stream(node.pods.engine, container, ("true",), OUTPUT):
            pass


async def test_calls_are_checked(node: DoubleNode, container: Container):
    with pytest.raises(InvalidArgument, match="cmd"):
        node.containers.exec_call(container.id, (), OUTPUT)
    call = node.containers.exec_call(container.id[:12], ("true",), OUTPUT)
    async with call.start() as process:
        assert await process.wait() == 0
    await node.containers.stop(container.id, 0)
    with pytest.raises(FailedPrecondition):
        node.containers.exec_call(container.id, ("true",), OUTPUT)
    with pytest.raises(FailedPrecondition):
        node.containers.attach_call(container.id, OUTPUT)
