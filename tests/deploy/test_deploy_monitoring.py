"""Prometheus rules and the Grafana dashboard name only metrics and labels that the server exposes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cri.observe import stages
from cri.observe.metrics import Metrics
from cri.observe.snapshots import ObjectCount

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "cri-shim.json"
FROM_PROMETHEUS = {"up", "instance", "job", "le"}
METRIC = re.compile(r"\b((?:cri_shim|process)_[a-z0-9_]+)(\{[^}]*\})?")
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\bby\s*\(([^)]*)\)")


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Label names by series name, of a server on which everything has happened once."""
    metrics = Metrics()
    metrics.rpc_began("Version")
    metrics.rpc_ended("Version", "OK", 0.1)
    metrics.containerd_call("Containers", "Create", "UNKNOWN", 0.1)
    metrics.cni_call("bridge", "ADD", 0.1, failed=True)
    with metrics.image_pull():
        metrics.image_bytes(1, "registry", 0.1)
        metrics.image_layers(fetched=1, reused=1)
    metrics.event("created")
    metrics.task_death("task", RuntimeError())
    metrics.rollback_leftover("operation", "step", RuntimeError())
    metrics.upkeep.janitor_round(removed=["lease"], failed=["snapshot"], reported=["record"])
    with stages.operation("RunPodSandbox") as running, stages.stage("netns"):
        pass
    metrics.operation_finished(running)
    metrics.snapshots.objects = lambda: [ObjectCount("sandbox", "ready", 1)]
    metrics.snapshots.recovered = lambda: [ObjectCount("record", "unreadable", 1)]
    metrics.snapshots.refresh()
    return {
        sample.name: set(sample.labels) | {"instance", "job"}
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def rules() -> Iterator[dict[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def queries() -> Iterator[tuple[str, str]]:
    """Where each query stands, and the query."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_what_is_exposed(where: str, query: str, exposed: dict[str, set[str]]):
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    without = query
    for name in recorded:
        without = without.replace(name, "")
    found = METRIC.findall(without)
    assert found or any(name in query for name in recorded) or "up{" in query, f"{where} asks for nothing"
    labels = {"le"} | FROM_PROMETHEUS
    for name, matchers in found:
        assert name in exposed, f"{where}: no metric {name}"
        labels |= exposed[name]
        unknown = set(LABEL.findall(re.sub(r'"[^"]*"', "", matchers))) - exposed[name]
        assert not unknown, f"{where}: {name} has no label {unknown}"
    if not any(name in query for name in recorded):
        for group in GROUPING.findall(query):
            unknown = {label.strip() for label in group.split(",")} - labels
            assert not unknown, f"{where}: nothing has the label {unknown}"


def test_every_alert_says_what_to_do():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["runbook"].endswith("."), rule["alert"]


def test_panels_are_numbered_and_do_not_overlap():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own


def test_the_dashboard_is_tidy_json():
    text = DASHBOARD.read_text()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
