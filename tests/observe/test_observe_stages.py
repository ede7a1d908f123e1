"""Operations and stages: nesting, inheritance by child tasks, outcomes, and hooks that fail."""

import asyncio

import pytest

from cri.observe import stages


@pytest.fixture
def finished():
    seen: list[stages.Operation] = []
    remove = stages.on_finished(seen.append)
    yield seen
    remove()


def test_stage_outside_of_an_operation_is_nothing():
    with stages.stage("netns"):
        assert stages.current() is None


def test_stages_nest_and_add_up(finished):
    with stages.operation("RunPodSandbox", sandbox="default/web") as running:
        with stages.stage("network"), stages.stage("cni:bridge"):
            assert running.running_stage == "cni:bridge"
            assert [record.name for record in running.running] == ["network", "cni:bridge"]
        with stages.stage("network"):
            pass
        assert running.running_stage is None
    assert finished == [running]
    assert [record.name for record in running.stages] == ["network", "cni:bridge", "network"]
    assert set(running.stage_seconds()) == {"network", "cni:bridge"}, "repeated stages are summed"
    assert running.outcome == "ok"
    assert running.task is None, "a finished operation must not keep its task's frames alive"


async def test_children_inherit_and_overlap():
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def child(name: str) -> None:
        with stages.stage(name):
            entered.set()
            await leave.wait()

    with stages.operation("RunPodSandbox") as running:
        async with asyncio.TaskGroup() as group:
            group.create_task(child("netns"))
            group.create_task(child("snapshot"))
            await entered.wait()
            await asyncio.sleep(0)
            assert {record.name for record in running.running} == {"netns", "snapshot"}
            assert stages.in_flight() == [running]
            assert running.task is asyncio.current_task()
            leave.set()
    assert stages.in_flight() == []
    assert all(record.seconds is not None for record in running.stages)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(asyncio.CancelledError(), "cancelled"), (KeyError("x"), "KeyError"), (TimeoutError(), "TimeoutError")],
)
def test_outcome_names_the_error(error, outcome, finished):
    with pytest.raises(type(error)), stages.operation("StopContainer"), stages.stage("kill"):
        raise error
    assert finished[0].outcome == outcome
    assert finished[0].stages[0].seconds is not None, "a stage that raised has still ended"


def test_an_inner_operation_knows_its_parent_and_gives_the_outer_one_back():
    with stages.operation("RunPodSandbox") as outer:
        with stages.operation("PullImage") as inner, stages.stage("fetch"):
            assert inner.parent is outer
        assert stages.current() is outer
        stages.annotate(sandbox_id="abc")
    assert outer.attributes == {"sandbox_id": "abc"}
    assert not outer.stages


def test_a_failing_hook_is_passed_over(finished):
    def fail(_operation: stages.Operation) -> None:
        raise RuntimeError("hook")

    remove = stages.on_finished(fail)
    try:
        with stages.operation("Status"):
            pass
    finally:
        remove()
    remove()  # twice is harmless
    assert len(finished) == 1


async def test_a_child_that_outlives_its_operation_records_nothing_more():
    gate = asyncio.Event()

    async def straggler() -> None:
        await gate.wait()
        with stages.stage("late"):
            pass

    with stages.operation("RemoveContainer") as running:
        task = asyncio.get_running_loop().create_task(straggler())
    gate.set()
    await task
    assert running.stages == []


def test_memory_is_bounded():
    with stages.operation("Loop") as running:
        for _ in range(stages.MOST_STAGES + 10):
            with stages.stage("again"):
                pass
    assert len(running.stages) == stages.MOST_STAGES
