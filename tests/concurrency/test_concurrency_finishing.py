"""Work that is cut off comes to its end first."""

from __future__ import annotations

import asyncio

import pytest

from cri.concurrency.finishing import finished


async def test_a_cancelled_caller_waits_for_the_end():
    go, done = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(1)

    caller = asyncio.get_running_loop().create_task(finished(work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    await asyncio.wait({caller})
    assert done
    assert caller.cancelled()


async def test_results_and_errors_come_through():
    async def answer() -> int:
        return 5

    async def refuse() -> None:
        raise ValueError("no")

    assert await finished(answer()) == 5
    with pytest.raises(ValueError, match="no"):
        await finished(refuse())


async def test_a_failure_after_the_cancellation_is_not_raised():
    go = asyncio.Event()

    async def refuse() -> None:
        await go.wait()
        raise ValueError("no")

    caller = asyncio.get_running_loop().create_task(finished(refuse()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait({caller})
    assert caller.cancelled()
