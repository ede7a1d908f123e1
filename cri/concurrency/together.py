"""Independent steps side by side: all run to their end, then the first error is raised as itself, not in a group."""

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
    """Run `steps` at once and return their results in order.

    When one fails the others still run to their end, and then the first failure is raised: a call to a daemon that is
    cut off in the middle may take effect after the roll-back has looked for it. Only a cancellation from outside
    cancels them; it too waits for their end.
    """
    return tuple(await all_of(list(steps)))


async def all_of(steps: list[Coroutine[object, object, A]]) -> list[A]:
    """Like `together`, for any number of steps of one kind."""
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
