"""ExecSync: what probes and `crictl exec -s` rely on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.configured import configured
from e2e.harness.cri import refused

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Workloads


@pytest_asyncio.fixture(loop_scope="session")
async def container(workloads: Workloads) -> Container:
    return await (await workloads.pod()).sleeper(env={"GREETING": "hello"}, working_dir="/tmp")


async def test_both_streams_and_the_exit_code_come_back(container: Container) -> None:
    answer = await container.execute("sh", "-c", 'echo "$GREETING $PWD"; echo problem >&2; exit 5')
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"hello /tmp\n", b"problem\n", 5)


async def test_output_is_bytes_and_complete(container: Container) -> None:
    answer = await container.execute("sh", "-c", "head -c 3000000 /dev/zero; printf '\\377\\000'")
    assert answer.exit_code == 0
    assert len(answer.stdout) == 3_000_002
    assert answer.stdout.endswith(b"\0\xff\0")


@pytest.mark.cri_shim_only
async def test_output_over_16_mib_is_cut_without_an_error(container: Container) -> None:
    answer = await container.execute(
        "sh", "-c", "head -c 18000000 /dev/zero >&2; echo end", timeout_seconds=30
    )
    assert answer.exit_code == 0
    assert answer.stdout == b"end\n"
    assert 15 << 20 < len(answer.stderr) <= 16 << 20


async def test_running_out_of_time_is_deadline_exceeded_and_kills(container: Container) -> None:
    began = time.monotonic()
    async with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        await container.execute("sleep", "54321", timeout_seconds=1)
    assert 0.9 < time.monotonic() - began < 5
    assert "sleep 54321" not in await container.output_of("ps -o args")


@pytest.mark.cri_shim_only
async def test_running_out_of_time_kills_the_children_too(container: Container) -> None:
    async with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        await container.execute("sh", "-c", "sleep 54322 & (sleep 54323; true) & wait", timeout_seconds=1)
    assert "sleep 5432" not in await container.output_of("ps -o args")


async def test_a_background_child_that_holds_the_output_does_not_hold_the_answer(
    container: Container,
) -> None:
    began = time.monotonic()
    answer = await container.execute("sh", "-c", "echo started; sleep 5 & true", timeout_seconds=30)
    assert answer.exit_code == 0
    assert answer.stdout == b"started\n"
    assert time.monotonic() - began < 20


@pytest.mark.cri_shim_only
async def test_output_of_children_is_waited_for_as_long_as_configured(
    node: Node, container: Container
) -> None:
    async with configured(node, keys='drain_exec_sync_io_timeout = "1s"\n'):
        began = time.monotonic()
        answer = await container.execute("sh", "-c", "echo started; sleep 60 & true", timeout_seconds=50)
        assert (answer.exit_code, answer.stdout) == (0, b"started\n")
        assert 0.9 < time.monotonic() - began < 20


async def test_a_missing_program_and_a_stopped_container_are_refused(container: Container) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="no-such-program"):
        await container.execute("no-such-program")
    await container.stop()
    with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)running|exited"):
        await container.execute("true")


async def test_many_at_once_in_one_container(container: Container) -> None:
    answers = await asyncio.gather(*(container.execute("echo", str(number)) for number in range(20)))
    assert [answer.stdout for answer in answers] == [f"{number}\n".encode() for number in range(20)]


async def test_a_client_that_goes_away_leaves_no_process(container: Container) -> None:
    call = container.cri.runtime.ExecSync(
        criv1.ExecSyncRequest(container_id=container.id, cmd=["sleep", "65432"], timeout=30)
    )
    await container.until_process("sleep 65432", runs=True)
    call.cancel()
    await container.until_process("sleep 65432", runs=False)
