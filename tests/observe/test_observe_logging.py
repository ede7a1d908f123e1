"""One line an event, levels that change at run time, and the standard library's records in the same shape."""

import io
import json
import logging

import pytest
import structlog

from cri.errors import InvalidArgument
from cri.observe import stages
from cri.observe.logging import set_level, set_up_logging
from cri.observe.slow_operations import SlowOperationLog


@pytest.fixture
def stream():
    before = structlog.get_config()
    processors = list(before["processors"])
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    before["processors"][:] = processors
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


def test_a_log_that_cannot_be_written_fails_nobody(stream):
    """Standard error may be a file, and its disk full."""
    with open("/dev/full", "wb", buffering=0) as device:
        full = io.TextIOWrapper(device, write_through=True)
        set_up_logging("info", "text", full)
        for level in ("info", "warning", "error", "exception"):
            getattr(structlog.get_logger("cri.app"), level)("nobody hears this")
        full.detach()


def test_text_is_one_line_an_event(stream):
    set_up_logging("info", "text", stream)
    log = structlog.get_logger("cri.network.cni")
    structlog.contextvars.bind_contextvars(rpc="RunPodSandbox")
    log.debug("not this")
    log.info("plugin\nran", plugin="bridge", message='says "no"', count=3)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    when, rest = lines[0].split(" ", 1)
    assert when.endswith("Z")
    assert rest == (
        'info    plugin\\nran plugin=bridge message="says \\"no\\"" count=3 '
        "rpc=RunPodSandbox logger=cri.network.cni"
    ), rest


def test_json_is_one_object_a_line_with_the_traceback_inside(stream):
    set_up_logging("info", "json", stream)
    log = structlog.get_logger("cri.image")
    try:
        raise KeyError("blob")
    except KeyError:
        log.exception("pull failed", image="docker.io/library/busybox:latest")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert event["level"] == "error"
    assert event["logger"] == "cri.image"
    assert event["event"] == "pull failed"
    assert "KeyError: 'blob'" in event["exception"]


def test_the_level_changes_at_run_time_for_loggers_already_used(stream):
    set_up_logging("warning", "text", stream)
    log = structlog.get_logger("cri.state")
    bound = log.bind(sandbox="web")
    log.info("hidden")
    bound.info("hidden")
    set_level("debug")
    log.debug("shown")
    bound.debug("shown")
    set_level("error")
    log.warning("hidden")
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["shown", "shown"]


def test_a_second_set_up_reaches_cached_loggers(stream):
    set_up_logging("info", "text", stream)
    log = structlog.get_logger("cri.app")
    log.info("first")
    set_up_logging("info", "json", stream)
    log.info("second")
    first, second = stream.getvalue().splitlines()
    assert "first" in first
    assert json.loads(second)["event"] == "second"


def test_records_of_the_standard_library_come_out_alike(stream):
    set_up_logging("info", "json", stream)
    logging.getLogger("somebody").warning("disk %s", "full")
    logging.getLogger("aiohttp.access").info("chatter")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert (event["event"], event["level"], event["logger"]) == ("disk full", "warning", "somebody")


def test_tracebacks_of_text_stay_on_their_line(stream):
    set_up_logging("info", "text", stream)
    try:
        raise ValueError("x")
    except ValueError:
        structlog.get_logger("cri").exception("failed")
    assert len(stream.getvalue().splitlines()) == 1
    assert "ValueError: x" in stream.getvalue()


@pytest.mark.parametrize(("level", "log_format"), [("loud", "text"), ("info", "xml")])
def test_unknown_levels_and_formats_are_refused(level, log_format):
    with pytest.raises(InvalidArgument, match="is not one of"):
        set_up_logging(level, log_format)


def test_slow_operations_are_told_with_their_stages():
    with stages.operation("RunPodSandbox", sandbox="default/web", event="reserved") as running:
        with stages.stage("netns"):
            pass
        with stages.stage("cni:bridge"):
            pass
    with structlog.testing.capture_logs() as events:
        SlowOperationLog(0.0)(running)
        SlowOperationLog(1000.0)(running)
        assert events == [], "neither off nor under the threshold"
        SlowOperationLog(1e-9)(running)
    assert len(events) == 1
    assert events[0]["event"] == "slow operation"
    assert events[0]["sandbox"] == "default/web"
    assert events[0]["stages"].startswith("netns=0.0")
    assert "cni:bridge=" in events[0]["stages"]
