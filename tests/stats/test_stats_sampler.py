"""The sampler: rates, shared readings, what vanishes drops out, nothing stays open."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cri.stats.cgroup import Cgroup, open_cgroup
from cri.stats.held_files import Allowance, CgroupGoneError
from cri.stats.sampler import Sample, Sampler, rate
from cri.stats.settings import StatsSettings
from cri.stats.usage import MemoryUse, Usage, combined
from tests.stats.cgroup_trees import write_v2

SECOND = 1_000_000_000


@dataclass
class TreeTarget:
    """A target whose cgroup is a recorded tree."""

    key: str
    directory: Path
    opened: int = 0
    fail: Exception | None = None
    read: list[str] = field(default_factory=list)

    def open(self, allowance: Allowance) -> Cgroup:
        self.opened += 1
        if self.fail is not None:
            raise self.fail
        return open_cgroup({"": self.directory}, allowance)

    def use(self, microseconds: int) -> None:
        (self.directory / "cpu.stat").write_text(f"usage_usec {microseconds}\nuser_usec 0\n")


@pytest.fixture
def target(tmp_path: Path) -> TreeTarget:
    return TreeTarget("one", write_v2(tmp_path / "one")[""])


def test_rate_takes_the_youngest_sample_that_is_old_enough():
    samples = [Sample(0, 0), Sample(2 * SECOND, 1 * SECOND)]
    assert rate(samples, Sample(4 * SECOND, 2 * SECOND)) == SECOND // 2
    assert rate(samples, Sample(2 * SECOND + 1000, SECOND)) == int(SECOND * SECOND / (2 * SECOND + 1000))
    assert rate([], Sample(0, 0)) is None
    assert rate([Sample(0, 0)], Sample(1000, 5)) is None, "too soon to say"
    assert rate([Sample(0, 100)], Sample(2 * SECOND, 0)) == 0, "a counter that went back is no rate"


async def test_readings_are_shared_for_a_moment(target: TreeTarget):
    sampler = Sampler(lambda: [target], StatsSettings(shared_reading_age=30))
    first, second = await asyncio.gather(sampler.read([target]), sampler.read([target]))
    assert first["one"] is second["one"], "two callers at once read once"
    target.use(9_000_000)
    assert (await sampler.read([target]))["one"] is first["one"]
    fresh = Sampler(lambda: [target], StatsSettings(shared_reading_age=0))
    assert (await fresh.read([target]))["one"].usage.cpu == 9_000_000_000
    assert target.opened == 2, "each sampler opened the cgroup once"
    await sampler.close()
    await fresh.close()


async def test_the_rate_follows_the_samples(target: TreeTarget, monkeypatch: pytest.MonkeyPatch):
    clock = [SECOND]
    monkeypatch.setattr("cri.stats.sampler.time.monotonic_ns", lambda: clock[0])
    sampler = Sampler(lambda: [target], StatsSettings(shared_reading_age=0))
    target.use(0)
    await sampler.sample()
    assert (await sampler.read([target]))["one"].nano_cores is None
    clock[0] += 2 * SECOND
    target.use(1_000_000)
    assert (await sampler.read([target]))["one"].nano_cores == SECOND // 2
    await sampler.close()


async def test_what_is_gone_drops_out_and_leaves_nothing_open(target: TreeTarget, tmp_path: Path):
    before = len(os.listdir("/proc/self/fd"))
    gone = TreeTarget("two", tmp_path / "nowhere")
    never = TreeTarget("three", tmp_path, fail=CgroupGoneError("three"))
    targets = [target, gone, never]
    sampler = Sampler(lambda: targets)
    assert set(await sampler.read(targets)) == {"one"}
    assert set(await sampler.threads(targets)) == {"one"}
    assert set(await sampler.read_fully(targets)) == {"one"}
    await sampler.sample()
    targets.clear()
    await sampler.sample()
    assert len(os.listdir("/proc/self/fd")) == before, "what does not run any more is closed"


async def test_a_full_reading_has_everything(target: TreeTarget):
    sampler = Sampler(lambda: [target])
    full = (await sampler.read_fully([target]))["one"]
    assert (full.threads, full.details.oom_kills, full.processes.processes) == (9, 2, 2)
    await sampler.close()


async def test_a_cancelled_caller_leaves_no_reader_behind(target: TreeTarget):
    sampler = Sampler(lambda: [target])
    reading = asyncio.get_running_loop().create_task(sampler.read([target]))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert set(await sampler.read([target])) == {"one"}
    await sampler.close()


def test_pods_without_a_cgroup_of_their_own_are_sums():
    one = Usage(at=5, cpu=10, memory=MemoryUse(100, 20, 50, 40, 1, 2, 3, limit=1000, swap=7))
    two = Usage(at=6, cpu=20, memory=MemoryUse(10, 50, 5, 4, 1, 2, 3))
    both = combined([one, two])
    assert (both.at, both.cpu) == (6, 30)
    assert both.memory.usage == 110
    assert both.memory.working_set == 80, "each working set is at least zero, and so is what is added"
    assert (both.memory.limit, both.memory.swap) == (None, 7)
