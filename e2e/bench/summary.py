"""What is kept of a run: median, quartiles and count of each operation, one file for each version of containerd. Pure.

A later run of some parts replaces what it measured anew and leaves the rest, so each entry says by itself when it was
measured and whether the machine had other things to do.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from cri.observe.timelines import Timeline
    from e2e.bench.operation import Measurements, Operation
    from e2e.bench.surroundings import Surroundings


class Spread(TypedDict):
    """The values of one server."""

    median: float
    lower: float
    """The first quartile; of less than two values the median."""
    upper: float
    count: int


class Outcome(TypedDict):
    """One operation, and what became of its goal."""

    name: str
    unit: str
    goal: float | None
    limit: float | None
    better: str
    ratio: float | None
    reached: bool | None


class Entry(Outcome):
    """An outcome that is kept."""

    date: str
    warning: str
    values: dict[str, Spread]


class Stage(TypedDict):
    """The mean of a stage of an operation, from the server's own histograms."""

    operation: str
    stage: str
    count: int
    milliseconds: float


class Summary(TypedDict):
    """One file."""

    surroundings: dict[str, object]
    operations: list[Entry]
    stages: list[Stage]
    timeline: Timeline | None


def summary(
    measurements: Measurements, around: Surroundings, stages: Sequence[Stage], timeline: Timeline | None
) -> Summary:
    """The essence of a run."""
    return {
        "surroundings": around.as_dict(),
        "operations": [
            {
                **outcome(measurements, operation),
                "date": around.date,
                "warning": around.warning,
                "values": {server: spread(each) for server, each in values.items()},
            }
            for operation, values in measurements.values.items()
        ],
        "stages": list(stages),
        "timeline": timeline,
    }


def outcome(measurements: Measurements, operation: Operation) -> Outcome:
    """What was to be reached, and whether it was."""
    return {
        "name": operation.name.strip(),
        "unit": operation.unit,
        "goal": operation.goal,
        "limit": operation.limit,
        "better": operation.better.name.lower(),
        "ratio": measurements.ratio(operation),
        "reached": measurements.reached(operation),
    }


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    median = statistics.median(values)
    lower, _, upper = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [median] * 3
    )
    return {"median": median, "lower": lower, "upper": upper, "count": len(values)}


def merged(old: Summary | None, new: Summary) -> Summary:
    """`old` with all that `new` has measured anew."""
    if old is None:
        return new
    entries = {entry["name"]: entry for entry in old["operations"]}
    entries.update((entry["name"], entry) for entry in new["operations"])
    return {
        "surroundings": new["surroundings"],
        "operations": list(entries.values()),
        "stages": new["stages"] or old["stages"],
        "timeline": new["timeline"] or old["timeline"],
    }


def encoded(content: Summary) -> str:
    """The file's text: short numbers, so that two runs can be compared line by line."""
    return json.dumps(_rounded(content), indent=1) + "\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1e6 else value
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value
