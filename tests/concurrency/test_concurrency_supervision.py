"""Supervised tasks are named, restarted, noticed when they die, and ended with the supervisor."""

from __future__ import annotations

import asyncio

import pytest

from cri.concurrency import supervision
from cri.concurrency.supervision import Supervisor
from cri.concurrency.together import all_of, together


async def test_endless_work_is_started_again_and_its_deaths_are_heard(monkeypatch):
    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.001)
    deaths: list[tuple[str, str]] = []
    third = asyncio.Event()
    lives = 0

    async def work() -> None:
        nonlocal lives
        lives += 1
        if lives == 3:
            third.set()
            await asyncio.Event().wait()
        raise OSError(f"life {lives}")

    async with Supervisor(lambda name, error: deaths.append((name, str(error)))) as supervisor:
        supervisor.keep("watch", work)
        await asyncio.wait_for(third.wait(), 5)
        assert supervisor.names == ["watch"]
    assert deaths == [("watch", "life 1"), ("watch", "life 2")]


async def test_a_failed_task_is_heard_of_even_if_nobody_awaits_it():
    heard = asyncio.Event()
    async with Supervisor(lambda _name, _error: heard.set()) as supervisor:

        async def fail() -> None:
            raise OSError("gone")

        supervisor.start("clean-up", fail())
        await asyncio.wait_for(heard.wait(), 5)


async def test_leaving_ends_everything():
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Supervisor() as supervisor:
        supervisor.start("work", work())
        await asyncio.sleep(0)
    assert ended.is_set()
    assert supervisor.names == []


async def test_together_lets_every_step_finish_and_raises_the_first_error_itself():
    finished = asyncio.Event()

    async def act() -> None:
        await asyncio.sleep(0.01)
        finished.set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("busy")

    with pytest.raises(OSError, match="busy"):
        await together(act(), fail())
    assert finished.is_set()


async def test_a_cancellation_reaches_every_step_and_waits_for_its_end():
    ended: list[int] = []

    async def act(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            ended.append(number)

    task = asyncio.get_running_loop().create_task(together(act(1), act(2)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert ended == [1, 2]


async def test_together_returns_results_in_order():
    async def value(number: int) -> int:
        return number

    assert await together(value(1), value(2), value(3)) == (1, 2, 3)


async def test_all_of_lets_every_step_finish():
    done: list[int] = []

    async def step(number: int) -> int:
        await asyncio.sleep(0)
        done.append(number)
        if number == 1:
            raise OSError("busy")
        return number

    with pytest.raises(OSError, match="busy"):
        await all_of([step(1), step(2)])
    assert done == [1, 2]
    assert await all_of([step(2), step(3)]) == [2, 3]
