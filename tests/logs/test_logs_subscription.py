"""Live output for attachers."""

import asyncio
import os
import signal

import pytest
from pretended_pods import feed, until

from cri.errors import NotFound, Unavailable
from cri.logs.connection import LIVE_BYTES


async def test_live_output_from_now_on_until_the_end(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, err = pod.open()
    os.write(out, b"history\n")
    await until(lambda: len(pod.records()) == 1, "the first line is written")
    first, second = await keeper.subscribe("c1"), await keeper.subscribe("c1")
    os.write(out, b"raw \0 and partial")
    assert await anext(first) == ("stdout", b"raw \0 and partial")
    os.write(err, b"\xff")
    assert await anext(first) == ("stderr", b"\xff")
    pod.close()
    assert [item async for item in first] == []
    assert [item async for item in second] == [("stdout", b"raw \0 and partial"), ("stderr", b"\xff")]
    assert first.skipped == 0
    await first.close()
    await second.close()
    await second.close()


async def test_a_subscriber_that_leaves_disturbs_nobody(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    leaving, staying = await keeper.subscribe("c1"), await keeper.subscribe("c1")
    await leaving.close()
    os.write(out, b"on\n")
    assert await anext(staying) == ("stdout", b"on\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    await staying.close()


async def test_a_stuck_subscriber_delays_nothing_and_hears_what_it_missed(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    stuck = await keeper.subscribe("c1")
    data = (b"x" * 99 + b"\n") * 200_000
    async with asyncio.timeout(20):
        await asyncio.to_thread(feed, out, data)
    await until(lambda: pod.log.stat().st_size > len(data), "the log has everything")
    blocks = bytearray()
    reading = asyncio.get_running_loop().create_task(_collect(stuck, blocks))
    await until(lambda: len(blocks) >= LIVE_BYTES, "what was queued arrives")
    os.write(out, b"and on\n")
    await until(lambda: blocks.endswith(b"and on\n"), "after that it is live again")
    pod.close()
    await reading
    assert stuck.skipped > 0
    assert stuck.skipped + len(blocks) == len(data) + len(b"and on\n")
    assert len(pod.records()) == 200_001
    assert (await keeper.statistics())["c1"].skipped_bytes == stuck.skipped
    await stuck.close()


async def _collect(subscription, blocks: bytearray) -> None:
    async for _, block in subscription:
        blocks += block


async def test_a_cancelled_iteration_loses_nothing(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    live = await keeper.subscribe("c1")
    for number in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(live), 0.01)
        os.write(out, b"%d" % number)
        assert await anext(live) == ("stdout", b"%d" % number)
    await live.close()


async def test_what_is_not_there_and_what_has_ended(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    with pytest.raises(NotFound):
        await keeper.subscribe("c1")
    await keeper.follow(pod.followed)
    pod.open()
    live = await keeper.subscribe("c1")
    pod.close()
    assert await keeper.drained("c1", 10)
    late = await keeper.subscribe("c1")
    assert [item async for item in late] == []
    assert [item async for item in live] == []
    await late.close()
    await live.close()


async def test_release_ends_the_subscription(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    live = await keeper.subscribe("c1")
    os.write(out, b"end")
    await keeper.release("c1")
    assert [item async for item in live] == [("stdout", b"end")]
    await live.close()


async def test_a_dead_keeper_is_told(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    pod.open()
    live = await keeper.subscribe("c1")
    assert keeper.pid is not None
    os.kill(keeper.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="went away"):
        await anext(live)
    await live.close()
