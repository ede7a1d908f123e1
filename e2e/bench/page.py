"""docs/performance.md and its pictures, from what runs have recorded: `python -m e2e.bench.page`.

`docs/performance/` holds a JSON file for each version of containerd, as `python -m e2e.bench --record` leaves it,
and `notes.md`, which people write: what the page says below the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from cri.observe.gantt import svg_chart
from e2e.bench import operation as op
from e2e.bench import plot, threads
from e2e.bench.report import VERDICTS
from e2e.bench.summary import Entry, Stage, Summary, encoded, merged
from e2e.harness.node import BUILT_IN, CRI_SHIM

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "performance"
TITLES = {BUILT_IN: "containerd", CRI_SHIM: "cri-shim"}
PICTURES = {
    "pods": ("Pods and containers", (op.RUN_POD, op.RUN_UNMASKED, op.CREATE, op.START, op.SECOND_CONTAINER,
        op.TO_RUNNING, op.TO_RUNNING_UNMASKED, op.PODS_AT_ONCE, op.PODS_AT_ONCE_UNMASKED, op.EXEC_SYNC,
        op.CONTAINER_STATUS, op.STOP_CONTAINER, op.REMOVE_CONTAINER, op.STOP_POD, op.REMOVE_POD, op.STOP_AND_REMOVE,
        op.STOP_AND_REMOVE_UNMASKED)),
    "bytes": ("Logs, streams and images", (*map(op.log_speed, (20, 100, 1000)), op.EXEC_STDOUT, op.EXEC_STDIN,
        op.FORWARD_DOWN, op.FORWARD_UP, op.EXEC_ROUND_TRIP, op.PULL_LARGE, op.PULL_SMALL, op.PULL_MANY)),
    "full": ("A full node", (op.LIST_CONTAINERS, op.LIST_PODS, op.LIST_STATS, op.LIST_POD_STATS,
        *(op.fleet(call) for call in ("ListContainers", "ListPodSandbox", "ListContainerStats", "ListPodSandboxStats")),
        op.MEMORY, op.IDLE, op.PRESSURE_COST)),
}  # fmt: skip
HEAD = """# Performance

cri-shim beside containerd's own CRI plugin: two private containerds of the same version with the same runc, CNI
plugins, images and networks take turns at the same operations on one machine. Ratios are cri-shim's median to the
plugin's. `make bench` measures; `python -m e2e.bench --record docs/performance` keeps the medians, and
`python -m e2e.bench.page` makes this page and its pictures of them. CRI-O is
not among the peers: Debian has no package of it.
"""


def record(directory: Path, new: Summary) -> Path:
    """Merge a run into the file of its containerd's version below `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"containerd-{_version(new)}.json"
    old = cast("Summary", json.loads(file.read_text())) if file.exists() else None
    file.write_text(encoded(merged(old, new)))
    return file


def recorded(directory: Path) -> dict[str, Summary]:
    """What `directory` holds, by version, oldest first."""
    found = [cast("Summary", json.loads(file.read_text())) for file in directory.glob("containerd-*.json")]
    by_version = {_version(each): each for each in found}
    return dict(sorted(by_version.items(), key=lambda pair: [int(part) for part in pair[0].split(".")]))


def pages(runs: Mapping[str, Summary], notes: str) -> dict[str, str]:
    """The page and its pictures by their path below docs/. Pure."""
    made: dict[str, str] = {}
    sections = [HEAD, _goals(runs), notes]
    for version, run in runs.items():
        pictures = dict(_pictures(version, run))
        made.update(pictures)
        sections.append(_run_section(version, run, list(pictures)))
    made["performance.md"] = "\n".join(section.rstrip() + "\n" for section in sections)
    return made


def _goals(runs: Mapping[str, Summary]) -> str:
    """Every operation that has a goal, with its ratio on each containerd."""
    names = list(dict.fromkeys(entry["name"] for run in runs.values() for entry in run["operations"]))
    found = {version: {entry["name"]: entry for entry in run["operations"]} for version, run in runs.items()}
    lines = ["## Goals", "", f"| operation | goal |{''.join(f' containerd {version} |' for version in runs)}"]
    lines.append(f"|---|---|{'---|' * len(runs)}")
    for name in names:
        entries = [each.get(name) for each in found.values()]
        goal = next((text for entry in entries if entry and (text := _goal(entry))), "")
        if goal:
            lines.append(f"| {name} | {goal} |{''.join(f' {_result(entry)} |' for entry in entries)}")
    return "\n".join(lines)


def _goal(entry: Entry) -> str:
    if entry["goal"] is not None:
        return f"{op.Better[entry['better'].upper()].value} {entry['goal']:g}"
    return "" if entry["limit"] is None else f"≤ {entry['limit']:g} {entry['unit']}"


def _result(entry: Entry | None) -> str:
    if entry is None:
        return ""
    ours = entry["values"].get(CRI_SHIM)
    text = plot.number(entry["ratio"]) if entry["ratio"] is not None and entry["goal"] is not None else ""
    if entry["limit"] is not None and ours:
        text = f"{plot.number(ours['median'])} {entry['unit']}"
    return f"{text} {VERDICTS[entry['reached']]}{' (loaded)' if entry['warning'] else ''}".strip()


def _run_section(version: str, run: Summary, pictures: Sequence[str]) -> str:
    around = run["surroundings"]
    lines = [
        f"## On containerd {version}",
        "",
        _on(around),
        "",
        "| operation | unit | containerd | cri-shim | ratio | measured |",
        "|---|---|---|---|---|---|",
        *(_row(entry) for entry in run["operations"]),
        "",
        *(f"![{Path(path).stem}]({path})" for path in pictures),
        "",
        *_stage_table(run["stages"]),
    ]
    return "\n".join(lines)


def _on(around: Mapping[str, object]) -> str:
    return (
        f"containerd {around['containerd']}, runc {around['runc']}, cri-shim {around['cri_shim']}, Python "
        f"{around['python']}, Linux {around['kernel']}, {around['processors']} processors. Medians, and the quartiles "
        "in brackets."
    )


def _row(entry: Entry) -> str:
    cells = [_spread(entry, server) for server in (BUILT_IN, CRI_SHIM)]
    ratio = "" if entry["ratio"] is None else plot.number(entry["ratio"])
    measured = entry["date"] + (", loaded" if entry["warning"] else "")
    return f"| {entry['name']} | {entry['unit']} | {cells[0]} | {cells[1]} | {ratio} | {measured} |"


def _spread(entry: Entry, server: str) -> str:
    found = entry["values"].get(server)
    if found is None:
        return "-"
    median = plot.number(found["median"])
    if found["count"] < 2:
        return median
    return f"{median} ({plot.number(found['lower'])} to {plot.number(found['upper'])})"


def _stage_table(stages: Sequence[Stage]) -> Iterator[str]:
    if not stages:
        return
    yield "Means of the stages of cri-shim's operations, one pod at a time; stages of an operation may overlap:"
    yield ""
    yield "| operation | stages, ms |"
    yield "|---|---|"
    for operation in dict.fromkeys(each["operation"] for each in stages):
        told = ", ".join(
            f"{each['stage']} {plot.number(each['milliseconds'])}"
            for each in stages
            if each["operation"] == operation
        )
        yield f"| {operation} | {told} |"


def _pictures(version: str, run: Summary) -> Iterator[tuple[str, str]]:
    entries = {entry["name"]: entry for entry in run["operations"]}
    for name, (title, operations) in PICTURES.items():
        groups = [
            plot.Bars(entry["name"], _medians(entry), entry["unit"])
            for operation in operations
            if (entry := entries.get(operation.name.strip())) and len(entry["values"]) > 1
        ]
        if groups:
            yield f"performance/{version}-{name}.svg", plot.bars(f"{title}, containerd {version}", groups)
    for step in (threads.START, threads.STOP, threads.DELETE):
        series: dict[str, list[tuple[float, float]]] = {}
        for number in threads.THREADS:
            for server, value in _medians(entries.get(op.threads_rate(step, number).name)).items():
                series.setdefault(server, []).append((number, value))
        if series:
            title = f"Pods with one container: {step}, per second, by clients at once, containerd {version}"
            yield f"performance/{version}-{step}.svg", plot.lines(title, "1/s", series)
    if run["timeline"] is not None:
        yield f"performance/{version}-waterfall.svg", svg_chart(run["timeline"])


def _medians(entry: Entry | None) -> dict[str, float]:
    return (
        {} if entry is None else {TITLES[server]: each["median"] for server, each in entry["values"].items()}
    )


def _version(run: Summary) -> str:
    found = re.match(r"v?(\d+\.\d+)", str(run["surroundings"]["containerd"]))
    if found is None:
        raise ValueError(
            f"containerd's version {run['surroundings']['containerd']!r} does not begin with two numbers"
        )
    return found[1]


def main() -> None:
    """Write the page and its pictures; pictures that it has no more are removed."""
    for file in FOLDER.glob("*.svg"):
        file.unlink()
    for path, text in pages(recorded(FOLDER), (FOLDER / "notes.md").read_text()).items():
        (DOCS / path).write_text(text)


if __name__ == "__main__":
    main()
