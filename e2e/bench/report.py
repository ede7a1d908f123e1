"""The measurements as a table for people and as JSON for programs."""

from __future__ import annotations

from e2e.bench.operation import Measurements, Operation
from e2e.bench.summary import outcome
from e2e.bench.surroundings import Surroundings
from e2e.harness.node import BUILT_IN, CRI_SHIM

VERDICTS = {True: "reached", False: "MISSED", None: ""}


def table(measurements: Measurements, around: Surroundings) -> str:
    """Medians, ratio and goal by operation."""
    head = (
        f"{around.date}: containerd {around.containerd}, runc {around.runc}, cri-shim {around.cri_shim}, "
        f"Python {around.python}, Linux {around.kernel}, {around.processors} processors"
    )
    columns = f"{'medians':<52}{'unit':>7}{'containerd':>12}{'cri-shim':>12}{'ratio':>8}  goal"
    rows = [_row(operation, measurements) for operation in measurements.values]
    warning = [f"ATTENTION: {around.warning}"] if around.warning else []
    return "\n".join([head, *warning, "", columns, *rows])


def _row(operation: Operation, measurements: Measurements) -> str:
    medians = measurements.medians(operation)
    cells = "".join(f"{_number(medians.get(server)):>12}" for server in (BUILT_IN, CRI_SHIM))
    ratio = measurements.ratio(operation)
    goal = ""
    if operation.goal is not None:
        goal = f"{operation.better.value} {operation.goal:.2f}"
    elif operation.limit is not None:
        goal = f"≤ {operation.limit:g} {operation.unit}"
    goal = f"{goal}  {VERDICTS[measurements.reached(operation)]}"
    shown = "" if ratio is None else f"{ratio:.2f}"
    return f"{operation.name:<52}{operation.unit:>7}{cells}{shown:>8}  {goal}".rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def document(measurements: Measurements, around: Surroundings) -> dict[str, object]:
    """Everything, with each single value."""
    return {
        "surroundings": around.as_dict(),
        "operations": [
            {
                **outcome(measurements, operation),
                "medians": measurements.medians(operation),
                "values": values,
            }
            for operation, values in measurements.values.items()
        ],
    }
