"""What an operator can limit: the rate of a log, and the size at which it is rotated before the kubelet looks."""

import asyncio
import os
import threading
from dataclasses import replace

from pretended_pods import feed

from cri.logs.rotation import MOST_ASIDE, set_aside


async def test_a_flood_is_cut_to_its_rate_and_said_to_be(pods, keepers):
    keeper, flooding, quiet = await keepers(), pods("flooding"), pods("quiet")
    await keeper.follow(replace(flooding.followed, rate_limit=100_000))
    await keeper.follow(quiet.followed)
    out, _ = flooding.open()
    quiet_out, _ = quiet.open()
    lines = [b"%d" % number for number in range(100_000)]
    await asyncio.to_thread(feed, out, b"\n".join(lines) + b"\n")
    os.write(quiet_out, b"heard\n")
    flooding.close()
    quiet.close()
    assert await keeper.drained("flooding", 20)
    assert await keeper.drained("quiet", 20)
    contents = [content for _, _, content in flooding.records()]
    counters = (await keeper.statistics())["flooding"]
    remarks = [content for content in contents if content.startswith(b"[cri-shim: ")]
    assert b"lines were suppressed, the limit is 100000 bytes a second]" in remarks[-1]
    kept = [content for content in contents if content not in remarks]
    assert counters.lines == len(lines) == len(kept) + counters.suppressed_lines
    assert kept[0] == b"0"
    assert set(kept) < set(lines)
    assert counters.suppressed_bytes > 0
    assert counters.lost_lines == 0
    assert [content for _, _, content in quiet.records()] == [b"heard"]


async def test_a_log_that_grows_fast_is_set_aside_and_only_the_newest_are_kept(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(replace(pod.followed, rotate_bytes=1_000_000))
    out, _ = pod.open()
    lines = [b"%d" % number for number in range(400_000)]
    await asyncio.to_thread(feed, out, b"\n".join(lines) + b"\n")
    pod.close()
    assert await keeper.drained("c1", 20)
    aside = sorted(pod.directory.glob("0.log.*"))
    assert len(aside) == MOST_ASIDE
    assert all(1_000_000 <= path.stat().st_size < 20_000_000 for path in aside)
    found = [content for path in [*aside, pod.log] for _, _, content in pod.records(path)]
    assert found == lines[-len(found) :], "what is kept has no gap and nothing twice"
    counters = await keeper.counters("c1")
    assert counters.rotations > MOST_ASIDE
    assert counters.lost_lines == 0


async def test_both_rotations_at_once_lose_nothing(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(replace(pod.followed, rotate_bytes=3_000_000))
    out, _ = pod.open()
    lines = [b"%d" % number for number in range(100_000)]
    writer = threading.Thread(target=feed, args=(out, b"\n".join(lines) + b"\n"))
    writer.start()
    number = 0
    while writer.is_alive():
        number += 1
        os.rename(pod.log, pod.directory / f"kubelet-{number}")
        await keeper.reopen("c1")
        await asyncio.sleep(0.01)
    writer.join()
    pod.close()
    assert await keeper.drained("c1", 20)
    paths = [*pod.directory.glob("kubelet-*"), *pod.directory.glob("0.log*")]
    found = sorted(int(content) for path in paths for _, _, content in pod.records(path))
    assert found == list(range(100_000))


def test_only_the_file_in_use_is_set_aside(tmp_path):
    path = tmp_path / "0.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        path.rename(tmp_path / "renamed by another")
        set_aside(str(path), descriptor)
        path.write_bytes(b"another file")
        set_aside(str(path), descriptor)
        assert path.read_bytes() == b"another file"
    finally:
        os.close(descriptor)


async def test_counters_of_one_container(pods, keepers):
    keeper = await keepers()
    assert await keeper.counters("c1") is None
    await keeper.follow(pods("c1").followed)
    await keeper.follow(pods("c2").followed)
    assert await keeper.counters("c1") is not None
