"""Work that is shared, turns by rank, the one lease: the small machines of concurrent pulls."""

from __future__ import annotations

import asyncio

import pytest

from api.containerd import Client
from cri.concurrency.supervision import Supervisor
from cri.image.joining import Joined
from cri.image.lease import PullLease
from cri.image.turns import Turns
from tests.double import ContainerdDouble


async def test_callers_share_one_run_and_its_result(supervisor: Supervisor) -> None:
    joined: Joined[int] = Joined(supervisor, "work")
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return runs

    assert await asyncio.gather(*(joined.run("key", "k", work) for _ in range(3))) == [1, 1, 1]
    assert await joined.run("key", "k", work) == 2, "what has ended is not joined"
    assert "key" not in joined


async def test_callers_share_a_failure(supervisor: Supervisor) -> None:
    joined: Joined[int] = Joined(supervisor, "work")

    async def work() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(joined.run("key", "k", work) for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]


async def test_the_last_caller_to_leave_ends_the_work_and_awaits_its_clean_up(supervisor: Supervisor) -> None:
    joined: Joined[None] = Joined(supervisor, "work")
    steps = []
    started = asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    callers = [supervisor.start(f"caller {n}", joined.run("key", "k", work)) for n in range(2)]
    await started.wait()
    callers[0].cancel()
    await asyncio.wait({callers[0]})
    assert steps == [], "one caller is left"
    callers[1].cancel()
    await asyncio.wait({callers[1]})
    assert steps == ["cleaned up"]
    assert "key" not in joined


async def test_who_comes_during_the_clean_up_starts_anew(supervisor: Supervisor) -> None:
    joined: Joined[str] = Joined(supervisor, "work")
    ending, go_on, started = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def first() -> str:
        try:
            started.set()
            return await asyncio.Event().wait() and ""
        finally:
            ending.set()
            await go_on.wait()

    async def second() -> str:
        return "second"

    caller = supervisor.start("caller", joined.run("key", "k", first))
    await started.wait()
    caller.cancel()
    await ending.wait()
    assert await joined.run("key", "k", second) == "second"
    go_on.set()
    await asyncio.wait({caller})


async def test_work_that_dies_with_its_beginner_is_done_again_for_the_others(supervisor: Supervisor) -> None:
    joined: Joined[str] = Joined(supervisor, "work")
    inner: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def first() -> str:
        return await inner

    async def second() -> str:
        return "mine"

    beginner = supervisor.start("beginner", joined.run("key", "k", first))
    await asyncio.sleep(0)
    other = supervisor.start("other", joined.run("key", "k", second))
    await asyncio.sleep(0)
    inner.cancel()
    assert await other == "mine"
    with pytest.raises(asyncio.CancelledError):
        await beginner


async def test_turns_go_to_the_lowest_rank() -> None:
    turns, order = Turns(), []
    release = asyncio.Event()

    async def take(rank: int, name: str) -> None:
        async with turns.turn(rank):
            order.append(name)
            await release.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(take(9, "holder"))
        await asyncio.sleep(0)
        for rank, name in ((3, "c"), (1, "a"), (2, "b"), (1, "a2")):
            group.create_task(take(rank, name))
        leaver = group.create_task(take(0, "leaver"))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.sleep(0)
        release.set()
    assert order == ["holder", "a", "a2", "b", "c"]
    async with asyncio.timeout(1), turns.turn(5):
        pass


async def test_a_turn_cancelled_as_it_is_given_is_passed_on() -> None:
    turns, order = Turns(), []

    async def take(rank: int) -> None:
        async with turns.turn(rank):
            order.append(rank)

    async with asyncio.TaskGroup() as group:
        async with turns.turn(0):
            unlucky = group.create_task(take(1))
            group.create_task(take(2))
            await asyncio.sleep(0)
        unlucky.cancel()
    assert order == [2]


async def test_overlapping_pulls_share_one_lease(client: Client, containerd: ContainerdDouble) -> None:
    lease = PullLease(client)
    async with lease.hold() as outer:
        async with lease.hold() as inner:
            assert inner is outer
        assert len(containerd.leftovers().leases) == 1
    assert containerd.leftovers().leases == ()
    async with lease.hold():
        assert len(containerd.leftovers().leases) == 1


async def test_a_lease_that_cannot_be_made_is_asked_for_again(
    client: Client, containerd: ContainerdDouble
) -> None:
    lease = PullLease(client)
    containerd.fail("Leases.Create")
    with pytest.raises(Exception, match="fault on request"):
        async with lease.hold():
            pass
    async with lease.hold():
        assert len(containerd.leftovers().leases) == 1


async def test_leases_of_a_killed_server_are_swept_and_no_others(
    client: Client, containerd: ContainerdDouble
) -> None:
    await client.leases.create("somebody-elses")
    await client.leases.create("ours", {"cri-shim.io/purpose": "pull"})
    await PullLease(client).sweep()
    assert containerd.leftovers().leases == ("somebody-elses",)


async def test_a_sweep_in_mid_pull_spares_the_pull(client: Client, containerd: ContainerdDouble) -> None:
    lease = PullLease(client)
    async with lease.hold():
        await lease.sweep()
        assert len(containerd.leftovers().leases) == 1, "the index is loaded anew when events were missed"
