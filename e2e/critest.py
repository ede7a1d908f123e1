"""Runs an installed critest against a private instance, and says what passed, failed and was skipped, by area.

    python -m e2e.critest [--server cri-shim|builtin] [--focus REGEXP] [--skip REGEXP] [--websocket]
                          [--unchanged]

critest pulls one of its images by a digest that only the upstream image has. Offline that cannot be had, so
critest is run as a copy in which that digest is the one of our own image; `--unchanged` runs it as it is, and
then that one spec fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.critest_images import (
    DIGEST_REPOSITORY,
    REGISTRIES,
    SANDBOX_IMAGE,
    PreparationError,
    critest_images,
)
from e2e.harness.certs import write_mirror
from e2e.harness.containerd_version import use_containerd
from e2e.harness.node import BUILT_IN, CRI_SHIM, assemble, short_directory
from e2e.harness.push import push
from e2e.harness.registry import registry
from e2e.harness.requirements import RequirementError, demand_requirements

STREAMS = ("exec", "attach", "portforward")
OUTCOMES = ("passed", "failed", "skipped")
DIGEST = re.compile(rb"test-image-digest@(sha256:[0-9a-f]{64})")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "cri-shim", "critest")


@dataclass(frozen=True, slots=True)
class Spec:
    """One spec of critest's report."""

    area: str
    name: str
    outcome: str
    message: str


def main() -> int:
    """Run critest; 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="e2e/critest.sh", description=__doc__.partition("\n")[0])
    parser.add_argument("--server", choices=(CRI_SHIM, BUILT_IN), default=CRI_SHIM)
    parser.add_argument("--focus", help="only specs that match this regular expression")
    parser.add_argument("--skip", help="no specs that match this regular expression")
    parser.add_argument("--websocket", action="store_true", help="stream over WebSocket instead of SPDY")
    parser.add_argument("--unchanged", action="store_true", help="do not run a copy with our image's digest")
    parser.add_argument("--report", type=Path, help="write the specs and their outcomes there, as JSON")
    options = parser.parse_args()
    program = shutil.which("critest")
    if program is None:
        print("critest is not on PATH: install it from https://github.com/kubernetes-sigs/cri-tools/releases")
        return 2
    try:
        use_containerd(os.environ.get("E2E_CONTAINERD", ""))
        demand_requirements()
        return asyncio.run(_run(Path(program), options))
    except (RequirementError, PreparationError) as problem:
        print(problem, file=sys.stderr)
        return 2


async def _run(program: Path, options: argparse.Namespace) -> int:
    home = short_directory(f"critest-{options.server}")
    images = await asyncio.to_thread(critest_images, CACHE)
    try:
        async with contextlib.AsyncExitStack() as stack:
            shelf = await stack.enter_async_context(registry(home / "registry"))
            for name, image in images.items():
                repository, _, tag = name.partition("/")[2].rpartition(":")
                await push(shelf, repository, tag, image)
            for name in REGISTRIES:
                write_mirror(home / "certs.d", name, shelf)
            node = await assemble(
                stack, options.server, home, shelf, sandbox_image=SANDBOX_IMAGE, busybox=next(iter(images))
            )
            digest = images[f"{DIGEST_REPOSITORY}:latest"].manifest.digest
            runnable = program if options.unchanged else _with_digest(program, home / "critest", digest)
            report = home / "report.json"
            status = await _critest(runnable, node.server.endpoint, report, options)
            specs = read_report(report) if report.exists() else []
            print(summary(specs) if specs else f"critest ended with {status} and wrote no report")
            if options.report is not None:
                _write(options.report, specs)
            return 1 if not specs or any(spec.outcome == "failed" for spec in specs) else 0
    finally:
        if "E2E_KEEP" not in os.environ:
            shutil.rmtree(home, ignore_errors=True)


def _with_digest(program: Path, copy: Path, digest: str) -> Path:
    """A copy of critest in which the upstream image's digest is replaced by ours, which is as long."""
    content = program.read_bytes()
    found = DIGEST.search(content)
    if found is not None:
        content = content.replace(found[1], digest.encode())
    copy.write_bytes(content)
    copy.chmod(0o755)
    return copy


async def _critest(program: Path, endpoint: str, report: Path, options: argparse.Namespace) -> int:
    command = [
        str(program),
        f"-runtime-endpoint=unix://{endpoint}",
        f"-image-endpoint=unix://{endpoint}",
        f"-ginkgo.json-report={report}",
        "-ginkgo.no-color",
    ]
    command += [f"-ginkgo.focus={options.focus}"] if options.focus else []
    command += [f"-ginkgo.skip={options.skip}"] if options.skip else []
    command += [f"-websocket-{kind}" for kind in STREAMS] if options.websocket else []
    process = await asyncio.create_subprocess_exec(*command, cwd=report.parent)
    return await process.wait()


def read_report(report: Path) -> list[Spec]:
    """The specs of a ginkgo JSON report, without those that focus or skip left out."""
    [suite] = json.loads(report.read_text())
    return [_spec(entry) for entry in suite["SpecReports"] or [] if _counts(entry)]


def _counts(entry: dict[str, Any]) -> bool:
    """A spec that a filter left out has the state "skipped" too, but no message that says why."""
    state: str = entry["State"]
    if entry["LeafNodeType"] != "It":
        return state != "passed"
    return state != "skipped" or bool(entry.get("Failure", {}).get("Message"))


def _spec(entry: dict[str, Any]) -> Spec:
    texts = [text.removeprefix("[k8s.io] ") for text in entry["ContainerHierarchyTexts"] or []]
    name = " ".join([*texts[1:], entry["LeafNodeText"]])
    outcome = {"passed": "passed", "skipped": "skipped"}.get(entry["State"], "failed")
    area = texts[0] if texts else "suite"
    return Spec(
        area.removesuffix(" [Conformance]"), name, outcome, entry.get("Failure", {}).get("Message", "")
    )


def summary(specs: list[Spec]) -> str:
    """A table by area, then what failed and why, then why specs were skipped."""
    counts = Counter((spec.area, spec.outcome) for spec in specs)
    areas = sorted({spec.area for spec in specs})
    totals = Counter(spec.outcome for spec in specs)
    rows = [
        _row("area", OUTCOMES),
        *(_row(area, [counts[area, outcome] for outcome in OUTCOMES]) for area in areas),
        _row("total", [totals[outcome] for outcome in OUTCOMES]),
    ]
    for outcome in ("failed", "skipped"):
        rows += [""] if totals[outcome] else []
        rows += [
            f"{outcome}: {spec.area}: {spec.name}: {' '.join(spec.message.split())[:300]}"
            for spec in specs
            if spec.outcome == outcome
        ]
    return "\n".join(rows)


def _row(first: str, cells: Iterable[object]) -> str:
    return f"{first:<40}" + "".join(f"{cell:>9}" for cell in cells)


def _write(file: Path, specs: list[Spec]) -> None:
    entries = [{"area": spec.area, "name": spec.name, "outcome": spec.outcome} for spec in specs]
    file.write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
