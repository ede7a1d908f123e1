"""Retries join, take over finished results, or begin anew."""

from __future__ import annotations

import asyncio

import pytest

from cri.concurrency.deadline import set_caller_deadline
from cri.concurrency.single_flight import TRAVEL_SECONDS, SingleFlight
from cri.concurrency.supervision import Supervisor


class Attempts:
    """Counts attempts and lets the test decide when and how they end."""

    def __init__(self):
        self.begun = 0
        self.release = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self):
        self.begun += 1
        number = self.begun
        await self.release.wait()
        if self.failure:
            raise self.failure
        return number


async def reaped_never(_result: int) -> None:
    raise AssertionError("a result that was received must not be reaped")


async def test_two_callers_share_one_attempt():
    attempt = Attempts()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(flights.run("pod", attempt))
            second = group.create_task(flights.run("pod", attempt))
            await asyncio.sleep(0)
            attempt.release.set()
        assert (first.result(), second.result(), attempt.begun) == (1, 1, 1)
        assert not flights.keys, "a received result must not be kept"


async def test_a_retry_takes_over_what_its_cancelled_predecessor_began():
    attempt = Attempts()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        attempt.release.set()
        assert await flights.run("pod", attempt) == 1, "the retry must get the first attempt's result"
        assert attempt.begun == 1


async def test_a_finished_result_waits_for_the_retry():
    attempt = Attempts()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        attempt.release.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert flights.keys == {"pod"}
        assert await flights.run("pod", attempt) == 1


async def test_a_failure_that_nobody_heard_does_not_block_the_next_attempt():
    attempt = Attempts()
    attempt.failure = RuntimeError("no network")
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        attempt.release.set()
        for _ in range(5):
            await asyncio.sleep(0)
        attempt.failure = None
        assert await flights.run("pod", attempt) == 2


async def test_every_caller_hears_of_the_failure():
    attempt = Attempts()
    attempt.failure = RuntimeError("no network")
    attempt.release.set()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)
        results = await asyncio.gather(
            flights.run("a", attempt), flights.run("a", attempt), return_exceptions=True
        )
        assert [str(result) for result in results] == ["no network", "no network"]


async def test_an_unclaimed_result_is_reaped():
    attempt = Attempts()
    reaped: asyncio.Queue[int] = asyncio.Queue()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped.put, unclaimed_seconds=0.01)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        attempt.release.set()
        assert await asyncio.wait_for(reaped.get(), 5) == 1
        assert not flights.keys


async def test_a_claimed_result_is_not_reaped():
    attempt = Attempts()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never, unclaimed_seconds=0.05)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        attempt.release.set()
        for _ in range(5):
            await asyncio.sleep(0)
        flights.claim("pod")
        for _ in range(5):
            await asyncio.sleep(0)
        assert not supervisor.names, "the claim must end the reaper"


async def test_claiming_an_unknown_name_is_harmless():
    async with Supervisor() as supervisor:
        SingleFlight[int](supervisor, reap=reaped_never).claim("nobody")


@pytest.mark.parametrize("callers", [1, 3])
async def test_cancelling_callers_never_cancels_the_attempt(callers):
    attempt = Attempts()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(flights.run("pod", attempt)) for _ in range(callers)}
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert "attempt pod" in supervisor.names


async def test_an_answer_in_the_last_moment_counts_as_not_received():
    attempt = Attempts()
    attempt.release.set()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped_never)

        async def call(seconds: float | None) -> int:
            set_caller_deadline(seconds)
            return await flights.run("pod", attempt)

        loop = asyncio.get_running_loop()
        assert await loop.create_task(call(TRAVEL_SECONDS / 2)) == 1
        assert await loop.create_task(call(None)) == 1, "the retry gets what the first caller may have missed"
        assert await loop.create_task(call(None)) == 2, "and then the flight is over"


async def test_a_caller_who_leaves_as_the_result_comes_leaves_it_to_the_reaper():
    """The attempt has ended, its last caller was there until then, and yet nobody received the result."""
    attempt = Attempts()
    reaped: asyncio.Queue[int] = asyncio.Queue()
    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reaped.put, unclaimed_seconds=0.01)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        (task,) = supervisor.tasks
        task.add_done_callback(lambda _task: caller.cancel())
        attempt.release.set()
        await asyncio.wait({caller})
        assert caller.cancelled()
        assert await asyncio.wait_for(reaped.get(), 5) == 1


async def test_a_retry_waits_until_its_unclaimed_predecessor_is_undone():
    attempt = Attempts()
    undoing, undone = asyncio.Event(), asyncio.Event()

    async def reap(_result: int) -> None:
        undoing.set()
        await undone.wait()

    async with Supervisor() as supervisor:
        flights: SingleFlight[int] = SingleFlight(supervisor, reap=reap, unclaimed_seconds=0.01)
        caller = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0)
        caller.cancel()
        attempt.release.set()
        await asyncio.wait_for(undoing.wait(), 5)
        retry = asyncio.get_running_loop().create_task(flights.run("pod", attempt))
        await asyncio.sleep(0.01)
        assert attempt.begun == 1, "the name is not free yet"
        undone.set()
        assert await asyncio.wait_for(retry, 5) == 2
