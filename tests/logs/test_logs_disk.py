"""A real disk that is full: a small file system in memory."""

import asyncio
from dataclasses import replace

import pytest
from pretended_pods import feed

from cri.linux import mounts

ROOM = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mounts.mount_tmpfs(path, size=ROOM, mode=0o755)
    yield path
    mounts.unmount(path)


async def test_a_full_disk_costs_what_does_not_fit_and_no_more(small_disk, pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(ROOM // 2))
    log = small_disk / "0.log"
    await keeper.follow(replace(pod.followed, log_path=log))
    out, _ = pod.open()
    lines = [b"%06d" % number for number in range(100_000)]
    await asyncio.to_thread(feed, out, b"\n".join(lines) + b"\n")
    async with asyncio.timeout(20):
        while (await keeper.counters("c1")).lines < len(lines):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    ballast.unlink()
    await asyncio.to_thread(feed, out, b"after\n")
    pod.close()
    assert await keeper.drained("c1", 20)
    contents = [content for _, _, content in pod.records(log)]
    assert contents[-1] == b"after", "it goes on as soon as there is room"
    counters = await keeper.counters("c1")
    assert len(contents) + counters.lost_lines == len(lines) + 1
    assert set(contents[:-1]) < set(lines), "no record is torn"
    assert counters.last_error == f"cannot write {log}: No space left on device"
    complaints = keeper_complaints(keeper)
    assert f"{counters.lost_lines} lines have been lost so far" in complaints


def keeper_complaints(keeper) -> str:
    with open(f"{keeper._socket}.log", encoding="utf-8") as file:
        return file.read()
