"""Undo steps run in reverse, all of them, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from cri.concurrency.supervision import shielded
from cri.concurrency.undo import UndoStack


def step(done: list[str], name: str, failure: Exception | None = None):
    async def run() -> None:
        await asyncio.sleep(0)
        done.append(name)
        if failure:
            raise failure

    return run


async def test_steps_run_in_reverse_after_a_failure():
    done: list[str] = []
    with pytest.raises(RuntimeError, match="no"):
        async with UndoStack("run") as undo:
            undo.push("first", step(done, "first"))
            undo.push("second", step(done, "second"))
            raise RuntimeError("no")
    assert done == ["second", "first"]


async def test_success_undoes_nothing():
    done: list[str] = []
    async with UndoStack("run") as undo:
        undo.push("first", step(done, "first"))
    assert done == []


async def test_forgotten_steps_are_not_undone():
    done: list[str] = []
    with pytest.raises(RuntimeError):
        async with UndoStack("run") as undo:
            undo.push("first", step(done, "first"))
            undo.forget()
            raise RuntimeError("no")
    assert done == []


async def test_a_failing_step_is_reported_and_stops_no_other():
    done: list[str] = []
    leftovers: list[tuple[str, str]] = []

    def note(operation: str, name: str, _error: BaseException) -> None:
        leftovers.append((operation, name))

    with pytest.raises(RuntimeError, match="no"):
        async with UndoStack("run", on_leftover=note) as undo:
            undo.push("first", step(done, "first"))
            undo.push("second", step(done, "second", OSError("busy")))
            raise RuntimeError("no")
    assert done == ["second", "first"]
    assert leftovers == [("run", "second")]


async def test_a_cancellation_during_the_roll_back_does_not_cut_it_short():
    done: list[str] = []
    reached = asyncio.Event()

    async def slow() -> None:
        reached.set()
        await asyncio.sleep(0.02)
        done.append("slow")

    async def operation() -> None:
        async with UndoStack("run") as undo:
            undo.push("first", step(done, "first"))
            undo.push("slow", slow)
            raise RuntimeError("no")

    task = asyncio.get_running_loop().create_task(operation())
    await reached.wait()
    task.cancel()
    await asyncio.wait({task})
    assert done == ["slow", "first"]
    assert task.cancelled()


async def test_shielded_work_ends_at_its_deadline():
    with pytest.raises(TimeoutError):
        await shielded(asyncio.sleep(60), "sleep", 0.01)


async def test_shielded_work_gives_its_result_and_its_error():
    async def value() -> int:
        return 7

    async def failure() -> None:
        raise OSError("busy")

    assert await shielded(value(), "value", 1) == 7
    with pytest.raises(OSError, match="busy"):
        await shielded(failure(), "failure", 1)


async def test_shielded_work_that_the_end_of_the_loop_forestalls_is_not_missed():
    """A loop that ends cancels every task, also one that has not begun; the work must not warn of that later."""

    async def work() -> None:
        raise AssertionError("never begun")

    forestalled = work()
    caller = asyncio.get_running_loop().create_task(shielded(forestalled, "work", 1))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert inspect.getcoroutinestate(forestalled) == inspect.CORO_CLOSED
