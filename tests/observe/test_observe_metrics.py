"""Series names and conventions, capped labels, snapshots by callback, and the HTTP exposition."""

import asyncio
import re
import time

import aiohttp
import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from cri.concurrency.undo import UndoStack, watch_leftovers
from cri.errors import InvalidArgument, Unavailable
from cri.observe import stages
from cri.observe.address import split_host_port
from cri.observe.capped import Capped, task_kind
from cri.observe.exposition import serve_metrics
from cri.observe.metrics import Metrics
from cri.observe.slow_operations import SlowOperationLog
from cri.observe.snapshots import LogTotals, ObjectCount, count_objects
from cri.observe.timelines import Timelines


@pytest.fixture
def metrics():
    return Metrics()


def exercise(metrics: Metrics) -> None:
    metrics.rpc_began("Version")
    metrics.rpc_ended("Version", "OK", 0.001)
    metrics.containerd_call("Containers", "Create", "ALREADY_EXISTS", 0.002)
    metrics.cni_call("bridge", "ADD", 0.05, failed=True)
    with metrics.image_pull():
        metrics.image_bytes(10, "registry.example", 0.5)
        metrics.image_layers(fetched=2, reused=3)
    metrics.event("created")
    metrics.events_dropped(4)
    metrics.event_watchers(1)
    metrics.loop_lag(0.01)
    metrics.task_death("undo RunPodSandbox web", RuntimeError())
    metrics.rollback_leftover("RunPodSandbox default/web", "CNI DEL", RuntimeError())
    with stages.operation("RunPodSandbox") as running, stages.stage("netns"):
        pass
    metrics.operation_finished(running)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_series_is_fed(metrics):
    exercise(metrics)
    assert value(metrics, "cri_shim_rpcs_total", method="Version", code="OK") == 1
    assert value(metrics, "cri_shim_rpcs_in_flight", method="Version") == 0
    assert value(metrics, "cri_shim_rpc_duration_seconds_count", method="Version") == 1
    assert (
        value(
            metrics,
            "cri_shim_containerd_call_errors_total",
            service="Containers",
            method="Create",
            code="ALREADY_EXISTS",
        )
        == 1
    )
    assert value(metrics, "cri_shim_cni_errors_total", plugin="bridge", verb="ADD") == 1
    assert value(metrics, "cri_shim_image_pulls_total", result="ok") == 1
    assert value(metrics, "cri_shim_image_pull_bytes_total", host="registry.example") == 10
    assert value(metrics, "cri_shim_image_pull_fetch_seconds_total", host="registry.example") == 0.5
    assert value(metrics, "cri_shim_image_layers_total", source="reused") == 3
    assert value(metrics, "cri_shim_events_dropped_total") == 4
    assert value(metrics, "cri_shim_task_deaths_total", task="undo") == 1
    assert value(metrics, "cri_shim_rollback_leftovers_total", operation="RunPodSandbox") == 1
    assert (
        value(metrics, "cri_shim_stage_duration_seconds_count", operation="RunPodSandbox", stage="netns") == 1
    )
    assert (
        value(metrics, "cri_shim_operation_duration_seconds_count", operation="RunPodSandbox", result="ok")
        == 1
    )


def test_a_failed_pull_counts_as_an_error(metrics):
    with pytest.raises(asyncio.CancelledError), metrics.image_pull():
        raise asyncio.CancelledError
    assert value(metrics, "cri_shim_image_pulls_total", result="error") == 1
    assert value(metrics, "cri_shim_image_pulls_in_flight") == 0
    assert value(metrics, "cri_shim_image_pull_duration_seconds_count") == 0


def test_names_follow_the_conventions(metrics):
    exercise(metrics)
    for family in metrics.registry.collect():
        if not family.name.startswith("cri_shim_"):
            assert family.name.startswith(("process_", "python_gc_")), f"stray metric {family.name}"
            continue
        assert re.fullmatch(r"[a-z][a-z0-9_]+", family.name), family.name
        assert family.documentation.endswith("."), f"{family.name} needs a sentence of help"
        assert not family.name.endswith("_total"), f"{family.name}: the client adds _total to counters itself"
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes")), f"{family.name} has no base unit"


def test_no_created_series(metrics):
    exercise(metrics)
    assert not [
        sample.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_created")
    ]


def test_two_servers_in_one_process_do_not_meet():
    first, second = Metrics(), Metrics()
    first.event("created")
    assert value(second, "cri_shim_events_total", type="created") is None


def test_labels_from_outside_are_capped():
    counter = Counter("probe", "Probe.", ["plugin", "verb"], registry=None)
    capped = Capped(counter, 2)
    for plugin in ("a", "b", "c", "a", "d"):
        capped(plugin, "ADD").inc()
    (family,) = counter.collect()
    counts = {
        sample.labels["plugin"]: sample.value for sample in family.samples if sample.name == "probe_total"
    }
    assert counts == {"a": 2, "b": 1, "other": 2}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("events", "events"), ("undo RunPodSandbox web", "undo"), ("attempt:web", "attempt"), ("", "")],
)
def test_task_kind_drops_the_object(name, kind):
    assert task_kind(name) == kind


def test_snapshots_are_taken_by_refresh_and_survive_a_failing_callback(metrics):
    metrics.snapshots.objects = lambda: count_objects({"sandbox": ["ready", "ready", "notready"]})
    metrics.snapshots.logs = lambda: LogTotals(bytes=7, lines=1, split_lines=0, lost_bytes=2)
    assert value(metrics, "cri_shim_objects", kind="sandbox", state="ready") is None, "not refreshed yet"
    metrics.snapshots.containerd_up = lambda: True
    assert value(metrics, "cri_shim_containerd_up") == 0
    metrics.snapshots.refresh()
    assert value(metrics, "cri_shim_containerd_up") == 1
    assert value(metrics, "cri_shim_objects", kind="sandbox", state="ready") == 2
    assert value(metrics, "cri_shim_log_lost_bytes_total") == 2

    def broken() -> list[ObjectCount]:
        raise RuntimeError("index is being rebuilt")

    metrics.snapshots.objects = broken
    metrics.snapshots.refresh()
    assert value(metrics, "cri_shim_objects", kind="sandbox", state="ready") == 2, "the last figure stands"


async def test_exposition_over_tcp(metrics):
    exercise(metrics)
    problems: list[str] = []
    async with (
        serve_metrics("127.0.0.1:0", metrics, lambda: problems[0] if problems else None) as address,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://{address}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            families = {family.name for family in text_string_to_metric_families(await answer.text())}
        assert {"cri_shim_rpcs", "cri_shim_build_info", "process_resident_memory_bytes"} <= families
        async with session.get(f"http://{address}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        problems.append("containerd is away")
        async with session.get(f"http://{address}/healthz") as answer:
            assert (answer.status, await answer.text()) == (503, "containerd is away\n")
        async with session.get(f"http://{address}/") as answer:
            assert answer.status == 404


async def test_exposition_over_a_unix_socket(metrics, tmp_path):
    path = tmp_path / "metrics.sock"
    path.touch()  # left by a killed server
    async with serve_metrics(f"unix://{path}", metrics) as address:
        assert address == f"unix://{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/metrics") as answer,
        ):
            assert answer.status == 200
    assert not path.exists()


async def test_exposition_off_and_taken(metrics):
    async with serve_metrics("", metrics) as nothing:
        assert nothing == ""
    async with serve_metrics("127.0.0.1:0", metrics) as address:
        with pytest.raises(Unavailable, match=re.escape(address)):
            async with serve_metrics(address, metrics):
                pass


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "::1:80", "host:"])
def test_bad_addresses_are_refused(address):
    with pytest.raises(InvalidArgument, match=re.escape(address)):
        split_host_port(address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:1338", ("127.0.0.1", 1338)), ("[::1]:0", ("::1", 0)), (":9000", ("", 9000))],
)
def test_addresses(address, parts):
    assert split_host_port(address) == parts


async def test_undo_steps_that_fail_are_counted_by_operation(metrics):
    async def fail() -> None:
        raise OSError("busy")

    end = watch_leftovers(metrics.rollback_leftover)
    try:
        with pytest.raises(KeyError):
            async with UndoStack("RunPodSandbox default/web") as undo:
                undo.push("unmount", fail)
                raise KeyError("x")
    finally:
        end()
    assert value(metrics, "cri_shim_rollback_leftovers_total", operation="RunPodSandbox") == 1


def test_rounds_of_the_janitor_are_counted_by_kind_and_what_remains_is_of_the_last(metrics):
    metrics.upkeep.janitor_round(removed=["lease", "lease"], failed=["snapshot"], reported=["record"])
    metrics.upkeep.janitor_round(removed=["snapshot"], failed=[], reported=["record"])
    assert value(metrics, "cri_shim_janitor_found_total", kind="snapshot") == 2
    assert value(metrics, "cri_shim_janitor_removed_total", kind="lease") == 2
    assert value(metrics, "cri_shim_janitor_remaining", kind="record", outcome="reported") == 1
    assert value(metrics, "cri_shim_janitor_remaining", kind="snapshot", outcome="failed") is None
    assert value(metrics, "cri_shim_janitor_last_round_timestamp_seconds") > 1e9


def test_what_one_pod_costs_in_instrumentation(metrics):
    """3 % of a RunPodSandbox of 100 ms would be 3 ms; processor time, because the machine may be busy."""
    hooks = [
        stages.on_finished(hook) for hook in (metrics.operation_finished, Timelines(), SlowOperationLog(10.0))
    ]
    rounds = 200
    began = time.process_time()
    for _ in range(rounds):
        metrics.rpc_began("RunPodSandbox")
        with stages.operation("RunPodSandbox", pod="shop/web", uid="u"):
            for name in (
                "image",
                "spec",
                "record",
                "snapshot",
                "netns",
                "files",
                "cni:bridge",
                "task-create",
            ):
                with stages.stage(name):
                    pass
        for method in ("Get", "Create", "Prepare", "Mounts", "Start", "Update", "Wait", "List"):
            metrics.containerd_call("Containers", method, "OK", 0.001)
        metrics.cni_call("bridge", "ADD", 0.01, failed=False)
        metrics.rpc_ended("RunPodSandbox", "OK", 0.1)
    each = (time.process_time() - began) / rounds
    for remove in hooks:
        remove()
    assert each < 0.003, f"{each * 1e3:.2f} ms for each pod"
