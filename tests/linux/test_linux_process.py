"""The subprocess gateway and what /proc says about processes."""

import asyncio
import os
import sys
import time

import pytest

from cri.linux import process
from cri.linux.process import execute


async def test_a_program_gets_its_input_and_gives_both_outputs_and_its_status():
    done = await execute(
        ["/bin/sh", "-c", "cat; echo problem >&2; exit 3"], stdin=b"hello", timeout_seconds=10
    )
    assert (done.status, done.stdout, done.stderr, done.truncated) == (3, b"hello", b"problem\n", False)


async def test_standard_input_can_be_opened_by_name():
    done = await execute(["/bin/sh", "-c", "cat /dev/stdin"], stdin=b"x" * 200_000, timeout_seconds=10)
    assert len(done.stdout) == 200_000, "CNI plugins written in shell read /dev/stdin"


async def test_the_environment_is_exactly_the_one_given():
    done = await execute(["/usr/bin/env"], env={"CNI_COMMAND": "ADD"}, timeout_seconds=10)
    assert done.stdout == b"CNI_COMMAND=ADD\n"


async def test_output_beyond_the_limit_is_dropped_and_the_program_ends():
    done = await execute(
        ["/bin/sh", "-c", "head -c 3000000 /dev/zero"], timeout_seconds=10, output_limit=1000
    )
    assert (done.status, len(done.stdout), done.truncated) == (0, 1000, True)


async def test_a_signalled_program_has_a_negative_status():
    assert (await execute(["/bin/sh", "-c", "kill -9 $$"], timeout_seconds=10)).status == -9


async def test_timeout_kills_the_whole_group(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 100 & echo $! $$ > {pids}; wait"
    with pytest.raises(TimeoutError, match=r"/bin/sh did not end within 0\.3 s"):
        await execute(["/bin/sh", "-c", script], timeout_seconds=0.3)
    for pid in pids.read_text().split():
        assert await process.exited(int(pid), 2), f"process {pid} of the killed group still runs"


async def test_cancellation_kills_the_whole_group(tmp_path):
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    script = f"sleep 100 & echo $! $$ > {pids}; wait"
    running = asyncio.get_running_loop().create_task(execute(["/bin/sh", "-c", script], timeout_seconds=50))
    found = await asyncio.to_thread(pids.read_text)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for pid in found.split():
        assert await process.exited(int(pid), 2), f"process {pid} of the cancelled call still runs"


async def test_a_child_that_keeps_the_pipes_open_does_not_hold_up_the_result():
    began = time.monotonic()
    done = await execute(["/bin/sh", "-c", "sleep 30 & echo $!"], timeout_seconds=10)
    assert time.monotonic() - began < 5
    os.kill(int(done.stdout), 9)


async def test_a_missing_program_is_reported_with_its_name():
    with pytest.raises(FileNotFoundError, match="no-such-plugin"):
        await execute(["/nowhere/no-such-plugin"], timeout_seconds=1)


async def test_many_programs_at_once():
    done = await asyncio.gather(*(execute(["/bin/echo", str(n)], timeout_seconds=20) for n in range(20)))
    assert [int(each.stdout) for each in done] == list(range(20))


def test_facts_about_a_process():
    assert process.parent(os.getpid()) == os.getppid()
    assert process.state(os.getpid()) == "R"
    started = process.start_time_ns(os.getpid())
    assert started is not None
    assert 0 < time.time_ns() - started < 3600 * 10**9
    assert process.start_ticks(os.getpid()) == process.start_ticks(os.getpid())


def test_a_process_that_is_gone_has_no_facts():
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    os.waitpid(pid, 0)
    assert process.parent(pid) is None
    assert process.start_time_ns(pid) is None
    assert process.open_pidfd(pid) is None


async def test_signals_reach_the_process_behind_the_pidfd_only():
    child = await asyncio.create_subprocess_exec("sleep", "100")
    pidfd = process.open_pidfd(child.pid)
    assert pidfd is not None
    assert not await process.exited(child.pid, 0.05)
    assert process.send_signal(pidfd, 15)
    assert await child.wait() == -15
    assert not process.send_signal(pidfd, 15), "the process is gone"
    assert await process.exited(child.pid, 1)
    os.close(pidfd)
