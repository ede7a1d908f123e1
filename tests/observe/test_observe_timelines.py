"""Timelines of pod starts: what is kept, for whom, how long; the charts drawn from them."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree as ET

import pytest

from cri.errors import InvalidArgument, NotFound
from cri.observe import timelines as module
from cri.observe.gantt import rows, svg_chart, text_chart
from cri.observe.stages import on_finished, operation, stage
from cri.observe.timelines import Timelines

UID = "uid-1"
SANDBOX, CONTAINER = "a" * 64, "b" * 64


@pytest.fixture
def timelines():
    kept = Timelines()
    remove = on_finished(kept)
    yield kept
    remove()


def start(uid: str = UID, sandbox: str = SANDBOX, container: str = CONTAINER) -> None:
    with operation("RunPodSandbox", pod="shop/web", uid=uid, sandbox=sandbox), stage("netns"):
        pass
    with operation("PullImage", pod="shop/web", uid=uid, image="busybox"), stage("fetch"):
        pass
    with operation("CreateContainer", sandbox=sandbox, name="app", container=container), stage("spec"):
        pass
    with operation("StartContainer", container=container[:12]), stage("task-start"):
        pass


def test_a_start_is_kept_in_order(timelines: Timelines):
    start()
    with operation("ListContainers"):
        pass
    found = timelines.find("shop/web")
    assert (found["pod"], found["uid"], found["sandbox"]) == ("shop/web", UID, SANDBOX)
    assert [(each["operation"], each["object"]) for each in found["operations"]] == [
        ("RunPodSandbox", ""),
        ("PullImage", "busybox"),
        ("CreateContainer", "app"),
        ("StartContainer", "app"),
    ]
    assert [each["name"] for each in found["operations"][0]["stages"]] == ["netns"]


@pytest.mark.parametrize("wanted", ["web", "shop/web", UID, SANDBOX, SANDBOX[:6]])
def test_a_pod_is_found_by_what_people_know(timelines: Timelines, wanted: str):
    start()
    assert timelines.find(wanted)["uid"] == UID


def test_an_unknown_pod_is_not_found(timelines: Timelines):
    with pytest.raises(NotFound, match="'other'"):
        timelines.find("other")
    with pytest.raises(InvalidArgument):
        timelines.find("")
    assert timelines.of_uid("other") is None
    assert timelines.of_container("other") == []


def test_only_a_containers_own(timelines: Timelines):
    start()
    assert [each["operation"] for each in timelines.of_container(CONTAINER)] == [
        "CreateContainer",
        "StartContainer",
    ]


def test_failed_attempts_are_part_of_the_start(timelines: Timelines):
    with pytest.raises(ValueError, match="boom"), operation("RunPodSandbox", pod="shop/web", uid=UID):  # noqa: SIM117
        with stage("netns"):
            raise ValueError("boom")
    start()
    outcomes = [each["outcome"] for each in timelines.find("web")["operations"]]
    assert outcomes == ["ValueError", "ok", "ok", "ok", "ok"]


def test_memory_is_bounded(timelines: Timelines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_PODS", 3)
    for number in range(10):
        start(f"uid-{number}", f"{number}a".ljust(64, "0"), f"{number}c".ljust(64, "0"))
    assert [timelines.of_uid(f"uid-{number}") is not None for number in range(10)] == [False] * 7 + [True] * 3
    assert len(timelines._uids) == len(timelines._containers) == 3
    for _ in range(module.MOST_OPERATIONS):
        with operation("StartContainer", container="9c".ljust(64, "0")):
            pass
    found = timelines.of_uid("uid-9")
    assert found is not None
    assert len(found["operations"]) == module.MOST_OPERATIONS


async def test_parallel_stages_share_the_axis(timelines: Timelines):
    async def part(name: str) -> None:
        with stage(name):
            await asyncio.sleep(0.01)

    with operation("RunPodSandbox", pod="shop/web", uid=UID, sandbox=SANDBOX):
        async with asyncio.TaskGroup() as group:
            group.create_task(part("cni"))
            group.create_task(part("task-create"))
    first, cni, task = rows(timelines.find("web"))
    assert first.depth == 0
    assert cni.begin < task.begin + task.seconds
    assert task.begin < cni.begin + cni.seconds, "they ran beside each other"
    chart = text_chart(timelines.find("web"))
    assert chart.count("|") == 2 * 3
    assert len({len(line) for line in chart.splitlines()[2:]}) == 1, "bars are aligned"


def test_the_picture_is_well_formed_and_escapes(timelines: Timelines):
    with operation("RunPodSandbox", pod="shop/<&>", uid=UID, sandbox=SANDBOX), stage("<cni>"):
        pass
    picture = ET.fromstring(svg_chart(timelines.find(UID)))
    bars = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + 2, "a background, the operation and its stage"


def test_a_pod_without_operations_draws_nothing():
    empty = {"pod": "shop/web", "uid": UID, "sandbox": SANDBOX, "operations": []}
    assert "nothing is remembered" in text_chart(empty)
    ET.fromstring(svg_chart(empty))
