"""The report of the benchmark: what is kept of runs, and the page and pictures that are made of it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from e2e.bench import operation as op
from e2e.bench import page, plot
from e2e.bench.operation import Measurements
from e2e.bench.summary import Summary, encoded, merged, spread, summary
from e2e.bench.surroundings import Surroundings
from e2e.harness.node import BUILT_IN, CRI_SHIM

QUIET = Surroundings("2026-11-30", "0.1.0", "1.6.20~ds1", "1.1.5", "3.11.7", "6.18", 2, 0.1)
LOADED = Surroundings("2026-12-01", "0.1.0", "1.6.20~ds1", "1.1.5", "3.11.7", "6.18", 2, 9.0)


def run(around: Surroundings, *values: tuple[op.Operation, list[float], list[float]]) -> Summary:
    measurements = Measurements()
    for operation, theirs, ours in values:
        for server, each in ((BUILT_IN, theirs), (CRI_SHIM, ours)):
            for value in each:
                measurements.add(operation, server, value)
    return summary(measurements, around, [], None)


def test_the_page_is_what_the_recorded_runs_make() -> None:
    made = page.pages(page.recorded(page.FOLDER), (page.FOLDER / "notes.md").read_text())
    for path, text in made.items():
        assert (page.DOCS / path).read_text() == text, f"docs/{path}: run python -m e2e.bench.page"
    pictures = {f"performance/{file.name}" for file in page.FOLDER.glob("*.svg")}
    assert pictures == set(made) - {"performance.md"}


@pytest.mark.parametrize("picture", sorted(page.FOLDER.glob("*.svg")), ids=lambda file: file.name)
def test_pictures_are_well_formed(picture: Path) -> None:
    assert ET.fromstring(picture.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_quartiles() -> None:
    assert spread([3.0, 1.0, 2.0, 4.0, 5.0]) == {"median": 3.0, "lower": 2.0, "upper": 4.0, "count": 5}
    assert spread([7.0]) == {"median": 7.0, "lower": 7.0, "upper": 7.0, "count": 1}


def test_a_later_run_of_a_part_leaves_the_rest_alone() -> None:
    old = run(QUIET, (op.RUN_POD, [100.0], [30.0]), (op.EXEC_SYNC, [10.0], [9.0]))
    new = merged(old, run(LOADED, (op.EXEC_SYNC, [20.0], [30.0])))
    entries = {entry["name"]: entry for entry in new["operations"]}
    assert list(entries) == [op.RUN_POD.name, op.EXEC_SYNC.name]
    assert (entries[op.RUN_POD.name]["date"], entries[op.RUN_POD.name]["warning"]) == (QUIET.date, "")
    assert entries[op.EXEC_SYNC.name]["ratio"] == 1.5
    assert "loaded" in entries[op.EXEC_SYNC.name]["warning"]


def test_a_recorded_run_comes_back(tmp_path: Path) -> None:
    written = page.record(tmp_path, run(QUIET, (op.RUN_POD, [100.0 / 3], [10.0])))
    assert written.name == "containerd-1.6.json"
    (version, found), *others = page.recorded(tmp_path).items()
    assert (version, others) == ("1.6", [])
    assert found["operations"][0]["values"][BUILT_IN]["median"] == 33.33
    assert encoded(found) == written.read_text(), "rounding again changes nothing"
    assert json.loads(written.read_text())["surroundings"]["runc"] == "1.1.5"


def test_goals_are_told_with_what_became_of_them() -> None:
    goals = page.pages(
        {
            "1.6": run(
                QUIET,
                (op.RUN_POD, [100.0], [30.0]),
                (op.EXEC_STDOUT, [100.0], [120.0]),
                (op.MEMORY, [60.0], [80.0]),
                (op.CREATE, [1.0], [1.0]),
            ),
            "2.1": run(LOADED, (op.RUN_POD, [100.0], [50.0])),
        },
        "## Notes",
    )["performance.md"].split("## Notes")[0]
    assert "| RunPodSandbox | ≤ 0.35 | 0.30 reached | 0.50 MISSED (loaded) |" in goals
    assert "| exec, output | ≥ 1.5 | 1.20 MISSED |  |" in goals
    assert "| resident memory, 150 pods | ≤ 90 MiB | 80.0 MiB reached |  |" in goals
    assert "CreateContainer |" not in goals, "there is nothing to reach"


def test_pictures_show_every_value() -> None:
    bars = plot.bars("a < b", [plot.Bars("run & start", {"containerd": 20.0, "cri-shim": 10.0}, "ms")])
    shown = "".join(ET.fromstring(bars).itertext())
    assert all(text in shown for text in ("a < b", "run & start", "20.0 ms", "10.0 ms"))
    lines = ET.fromstring(plot.lines("rate", "1/s", {"cri-shim": [(1, 2.0), (10, 8.0)]}))
    assert len(lines.findall("{http://www.w3.org/2000/svg}circle")) == 2
