"""The exposition, the rules and the dashboard as Prometheus itself sees them: promtool's checks, a real scrape."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api.wire import criv1
from e2e.harness.eventually import eventually
from e2e.harness.exposition import exposition, metrics_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

pytestmark = pytest.mark.cri_shim_only

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "cri-shim.json"
ABOUT_FAILURES = re.compile("fail|leftovers", re.IGNORECASE)
"""Panels whose series come to be with the first failure, or the first thing left over."""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


async def promtool(*arguments: str, given: str = "") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *("promtool", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(given.encode())
    return process.returncode or 0, output.decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def prometheus(target: str) -> AsyncIterator[str]:
    """A Prometheus of our own that scrapes `target` every second; yields its address."""
    with tempfile.TemporaryDirectory(prefix="e2e-prometheus-") as directory:
        home = Path(directory)
        address = f"127.0.0.1:{free_port()}"
        (home / "prometheus.yaml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{RULES}]\n"
            "scrape_configs:\n"
            "  - job_name: cri-shim\n"
            f'    static_configs: [{{targets: ["{target}"]}}]\n'
        )
        with (home / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                "prometheus",
                f"--config.file={home / 'prometheus.yaml'}",
                f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address={address}",
                stdout=log,
                stderr=log,
            )
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            await process.wait()


async def query(base: str, expression: str) -> list[object]:
    url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    answer = json.loads(await asyncio.to_thread(get, url))
    assert answer["status"] == "success", answer
    found: list[object] = answer["data"]["result"]
    return found


def dashboard_queries() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [
        (panel["title"], _filled_in(target["expr"]))
        for panel in panels
        for target in panel.get("targets", ())
    ]


def _filled_in(expression: str) -> str:
    return expression.replace("$__rate_interval", "10s").replace("$instance", ".*")


async def test_promtool_finds_no_fault_with_the_metrics(node: Node, workloads: Workloads) -> None:
    await workloads.pod()
    code, output = await promtool("check", "metrics", given=await exposition(node.server))
    ours = [line for line in output.splitlines() if line.startswith("cri_shim")]
    assert code == 0 or not ours, "\n".join(ours)


async def test_promtool_finds_no_fault_with_the_rules() -> None:
    code, output = await promtool("check", "rules", str(RULES))
    assert code == 0, output


async def test_every_panel_of_the_dashboard_has_data(node: Node, workloads: Workloads) -> None:
    image = criv1.ImageSpec(image=node.busybox)
    await node.cri.image.PullImage(criv1.PullImageRequest(image=image))
    async with prometheus(metrics_address(node.server)) as base:

        async def scraped() -> list[object]:
            try:
                return await query(base, "count_over_time(cri_shim_containerd_up[20s]) >= 4")
            except OSError:
                return []

        pod = await workloads.pod()
        await pod.sleeper()
        await eventually(scraped, bool, "four scrapes", 30)
        empty = []
        for title, expression in dashboard_queries():
            if not await query(base, expression) and not ABOUT_FAILURES.search(title):
                empty.append(f"{title}: {expression}")
        assert not empty, "no data for\n" + "\n".join(empty)
        alerts = await query(base, 'ALERTS{alertstate="firing"}')
        assert not alerts, f"a healthy node raises {alerts}"
