"""Dedicated threads: results, errors, and what a cancellation waits for."""

import asyncio
import threading

import pytest

from cri.linux.threads import in_own_thread


async def test_the_result_comes_back_and_the_thread_is_new_and_named():
    name, ident = await in_own_thread(
        "the-name", lambda: (threading.current_thread().name, threading.get_ident())
    )
    assert name == "the-name"
    assert ident != threading.get_ident()


async def test_an_error_comes_back_as_raised():
    def fail() -> None:
        raise OSError(28, "full", "/somewhere")

    with pytest.raises(OSError, match="/somewhere"):
        await in_own_thread("fails", fail)


async def test_a_cancelled_caller_waits_for_the_work_that_cannot_be_stopped():
    started, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        started.set()
        go_on.wait(10)
        done.append("work")

    task = asyncio.get_running_loop().create_task(in_own_thread("slow", work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    assert not task.done(), "an undo step would run beside the work"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work"]


def test_a_closed_loop_does_not_hurt_the_thread():
    async def leave() -> None:
        task = asyncio.get_running_loop().create_task(in_own_thread("late", lambda: go_on.wait(10)))
        await asyncio.sleep(0)
        task_holder.append(task)

    go_on = threading.Event()
    task_holder: list[asyncio.Task[bool]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    late = [thread for thread in threading.enumerate() if thread.name == "late"]
    go_on.set()
    for thread in late:
        thread.join(10)
    task_holder[0]._log_destroy_pending = False
