"""Work in a thread is over when its caller goes on, cancelled or not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cri.concurrency.threads import finished_in_thread


async def test_a_cancelled_caller_waits_for_the_thread():
    release, begun, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(5)
        done.set()

    task = asyncio.get_running_loop().create_task(finished_in_thread(work))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    release.set()
    await asyncio.wait({task})
    assert done.is_set()
    assert task.cancelled()


async def test_results_and_errors_come_through():
    def fail() -> None:
        raise OSError("busy")

    assert await finished_in_thread(int, "7") == 7
    with pytest.raises(OSError, match="busy"):
        await finished_in_thread(fail)
