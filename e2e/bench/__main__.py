"""`python -m e2e.bench`, also as `make bench`: measure, print the table, write the JSON, keep what a report needs."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.bench import (
    fleet,
    floods,
    instrumentation,
    logs,
    pods,
    pressure,
    pulls,
    stats,
    streams,
    threads,
    waterfall,
)
from e2e.bench.contender import LINE_BYTES, Contender, contenders
from e2e.bench.operation import Measurements
from e2e.bench.page import record
from e2e.bench.report import document, table
from e2e.bench.summary import Stage, summary
from e2e.bench.surroundings import surroundings
from e2e.harness.node import CRI_SHIM, short_directory
from e2e.harness.registry import Registry
from e2e.harness.requirements import RequirementError, demand_requirements

if TYPE_CHECKING:
    from cri.observe.timelines import Timeline

PARTS = (
    "pods",
    "parallel",
    "threads",
    "logs",
    "floods",
    "streams",
    "pulls",
    "stats",
    "instrumentation",
    "fleet",
    "lists",
)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of everything."""

    pod_rounds: int
    parallel_pods: int
    pull_rounds: int
    layer_bytes: int
    log_rounds: int
    log_repetitions: int
    flood_rounds: int
    flood_calls: int
    objects: int
    list_calls: int
    running_pods: int
    thread_pods: int
    fleet_pods: int
    fleet_containers: int
    idle_seconds: int
    pressure_seconds: int
    stream_rounds: int
    stream_megabytes: int


FULL = Amount(20, 30, 5, 20_000_000, 3, 8, 5, 300, 500, 30, 100, 30, 150, 500, 60, 40, 5, 200)
QUICK = Amount(4, 10, 1, 2_000_000, 1, 1, 1, 100, 50, 10, 10, 4, 6, 12, 2, 12, 1, 20)


def main() -> int:
    """Measure; 0 unless something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look in about a minute, not figures to quote")
    parser.add_argument(
        "--json", type=Path, default=Path("bench-results.json"), metavar="FILE", help="%(default)s"
    )
    parser.add_argument(
        "--record", type=Path, metavar="DIRECTORY", help="keep medians there for `python -m e2e.bench.page`"
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    options = parser.parse_args()
    try:
        demand_requirements()
    except RequirementError as missing:
        print(missing, file=sys.stderr)
        return 2
    around = surroundings()
    if around.warning:
        print(f"ATTENTION: {around.warning}", file=sys.stderr)
    measurements, course = Measurements(), Course()
    try:
        asyncio.run(_measure(measurements, course, QUICK if options.quick else FULL, options.only or PARTS))
    finally:
        if options.record:
            record(options.record, summary(measurements, around, course.stages, course.timeline))
        print(table(measurements, around))
        options.json.write_text(json.dumps(document(measurements, around), indent=2) + "\n")
        print(f"\nevery value: {options.json}")
    return 0


@dataclass(slots=True)
class Course:
    """How the time of cri-shim's operations was spent."""

    stages: list[Stage] = field(default_factory=list)
    timeline: Timeline | None = None


async def _measure(
    measurements: Measurements, course: Course, amount: Amount, parts: tuple[str, ...]
) -> None:
    home = short_directory("bench")
    try:
        async with contenders(home, measurements) as (shelf, both):
            for part in parts:
                print(f"measuring {part} …", file=sys.stderr)
                await PART_WORK[part](shelf, both, amount)
                if part == "pods":  # before anything else shares the histograms
                    ours = next(each for each in both if each.name == CRI_SHIM)
                    course.stages = await waterfall.stage_means(ours)
                    course.timeline = await waterfall.median_start(ours)
                for contender in both:  # what one part leaves is not what the next one counts
                    await pods.remove_pods(contender)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _in_turns(both: list[Contender], rounds: int, work: Callable[[Contender], Awaitable[None]]) -> None:
    for number in range(rounds):
        for contender in both if number % 2 else reversed(both):
            await work(contender)


async def _pods(_: Registry, both: list[Contender], amount: Amount) -> None:
    await _in_turns(both, amount.pod_rounds, pods.one_pod)
    await _in_turns(both, amount.pod_rounds, pods.whole_pod)
    for contender in both:
        await contender.offer_unmasked()
    await _in_turns(both, amount.pod_rounds, pods.unmasked_pod)


async def _parallel(_: Registry, both: list[Contender], amount: Amount) -> None:
    for contender in both:
        await contender.offer_unmasked()
    await _in_turns(both, 2, lambda contender: pods.parallel_pods(contender, amount.parallel_pods))


async def _logs(_: Registry, both: list[Contender], amount: Amount) -> None:
    for size in LINE_BYTES:
        repetitions = amount.log_repetitions * logs.LONGER.get(size, 1)
        work = partial(logs.output, line_bytes=size, repetitions=repetitions)
        await _in_turns(both, amount.log_rounds, work)


async def _floods(_: Registry, both: list[Contender], amount: Amount) -> None:
    await _in_turns(both, amount.flood_rounds, partial(floods.answers, calls=amount.flood_calls))


async def _streams(_: Registry, both: list[Contender], amount: Amount) -> None:
    stages = {contender.name: await streams.prepare(contender, amount.stream_megabytes) for contender in both}

    async def carry(contender: Contender) -> None:
        await streams.throughput(contender, stages[contender.name], amount.stream_megabytes)

    async def answer(contender: Contender) -> None:
        await streams.round_trip(contender, stages[contender.name])

    await _in_turns(both, amount.stream_rounds, carry)
    await _in_turns(both, amount.stream_rounds * 4, answer)


async def _pulls(shelf: Registry, both: list[Contender], amount: Amount) -> None:
    await pulls.shelve(shelf, amount.layer_bytes)
    await _in_turns(both, amount.pull_rounds, lambda contender: pulls.one_large(contender, shelf))
    await _in_turns(both, amount.pull_rounds * 4, lambda contender: pulls.one_small(contender, shelf))
    await _in_turns(both, amount.pull_rounds, lambda contender: pulls.many_small(contender, shelf))


async def _stats(_: Registry, both: list[Contender], amount: Amount) -> None:
    for contender in both:
        await pods.run_pods(contender, amount.running_pods)
    work = partial(stats.lists, calls=amount.list_calls // 3, pods=amount.running_pods)
    await _in_turns(both, 2, work)


async def _instrumentation(_: Registry, both: list[Contender], amount: Amount) -> None:
    ours = next(each for each in both if each.name == CRI_SHIM)
    await instrumentation.run_pod(ours, amount.pod_rounds)
    await pods.remove_pods(ours)
    await pods.run_pods(ours, amount.running_pods)
    await instrumentation.sampler(ours)


async def _threads(_: Registry, both: list[Contender], amount: Amount) -> None:
    for number in threads.THREADS:
        await _in_turns(both, 1, partial(threads.rates, threads=number, pods=amount.thread_pods))


async def _fleet(_: Registry, both: list[Contender], amount: Amount) -> None:
    for contender in both:
        await fleet.grow(contender, amount.fleet_pods)
    await _in_turns(both, 1, partial(fleet.idle, seconds=amount.idle_seconds))
    for contender in both:
        await fleet.add_containers(contender, amount.fleet_containers)
    await _in_turns(both, 2, partial(fleet.lists, calls=amount.list_calls // 3))
    await _in_turns(both, 1, partial(pressure.kubelet, seconds=amount.pressure_seconds))


async def _lists(_: Registry, both: list[Contender], amount: Amount) -> None:
    for contender in both:
        await pods.fill(contender, amount.objects)
    work = partial(pods.lists, calls=amount.list_calls, objects=amount.objects)
    await _in_turns(both, 2, work)


PART_WORK: dict[str, Callable[[Registry, list[Contender], Amount], Awaitable[None]]] = {
    "pods": _pods,
    "parallel": _parallel,
    "threads": _threads,
    "logs": _logs,
    "floods": _floods,
    "streams": _streams,
    "pulls": _pulls,
    "stats": _stats,
    "instrumentation": _instrumentation,
    "fleet": _fleet,
    "lists": _lists,
}

if __name__ == "__main__":
    sys.exit(main())
