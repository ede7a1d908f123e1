"""Independent steps side by side, failing as one: the first error is raised as itself, not wrapped in a group."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar, overload

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")

Step = Coroutine[object, object, A]


@overload
async def together(first: Step[A], second: Step[B], /) -> tuple[A, B]: ...
@overload
async def together(first: Step[A], second: Step[B], third: Step[C], /) -> tuple[A, B, C]: ...
@overload
async def together(
    first: Step[A], second: Step[B], third: Step[C], fourth: Step[D], /
) -> tuple[A, B, C, D]: ...
@overload
async def together(
    first: Step[A], second: Step[B], third: Step[C], fourth: Step[D], fifth: Step[E], /
) -> tuple[A, B, C, D, E]: ...


async def together(*steps: Coroutine[object, object, object]) -> tuple[object, ...]:
    """Run `steps` at once and return their results in order; when one fails, cancel and await the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except BaseExceptionGroup as failures:
        raise first_cause(failures) from None
    return tuple(task.result() for task in tasks)


async def all_of(steps: list[Coroutine[object, object, A]]) -> list[A]:
    """Like `together` for any number of steps of one kind, but let every step finish before the first error is raised.

    For clean-up, where one failure must not cut the others short.
    """
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def first_cause(error: BaseException) -> BaseException:
    """The first error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
