"""Totals of container output never go back, whatever becomes of containers and keeper."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from cri.errors import Unavailable
from cri.observe.log_totals import LogMeter
from cri.observe.snapshots import LogTotals


def test_what_was_counted_stays_counted():
    meter = LogMeter()
    assert meter.totals() == LogTotals()
    meter.update({"a": LogTotals(10, 1, 0, 0), "b": LogTotals(5, 1, 1, 2)})
    assert meter.totals() == LogTotals(15, 2, 1, 2)
    meter.update({"a": LogTotals(20, 2, 0, 0)})
    assert meter.totals() == LogTotals(25, 3, 1, 2), "a container that was released"
    meter.update({"a": LogTotals(3, 1, 0, 0)})
    assert meter.totals() == LogTotals(28, 4, 1, 2), "a keeper that began anew"


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 100)), max_size=8))
def test_totals_never_go_back(readings):
    meter = LogMeter()
    before = 0
    for reading in readings:
        meter.update({container: LogTotals(bytes=count) for container, count in reading.items()})
        assert meter.totals().bytes >= before
        before = meter.totals().bytes


async def test_a_keeper_that_is_away_is_asked_again():
    meter = LogMeter()
    asked = asyncio.Event()
    answers = iter([Unavailable("away"), {"a": LogTotals(1, 1, 0, 0)}])

    async def read():
        answer = next(answers, None)
        if answer is None:
            asked.set()
            await asyncio.Event().wait()
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    task = asyncio.get_running_loop().create_task(meter.watch(read, period_seconds=0.001))
    await asked.wait()
    task.cancel()
    assert meter.totals().bytes == 1
