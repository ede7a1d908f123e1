"""Values and functions of the template language: how a value prints, what `eq` and `len` do. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | bool | int | Sequence[Value] | Mapping[str, Value]"
Function: TypeAlias = Callable[..., Value]

_VERB = re.compile(r"%(.?)")


class TemplateError(ValueError):
    """The template cannot be parsed or rendered; the message says where and why."""


def printed(value: Value) -> str:
    """A value as Go's `%v` shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, Mapping):
        raise TemplateError("'.' itself cannot be printed, only one of its fields")
    return f"[{' '.join(printed(item) for item in value)}]"


def _and(*values: Value) -> Value:
    return next((value for value in values if not value), values[-1])


def _or(*values: Value) -> Value:
    return next((value for value in values if value), values[-1])


def _equal(first: Value, *others: Value) -> bool:
    """True if the first equals any of the others, as in Go; comparing different types is an error there."""
    for other in others:
        if type(first) is not type(other) or not isinstance(first, (str, int)):
            raise TemplateError(f"eq and ne cannot compare {printed(first)!r} with {printed(other)!r}")
    return any(first == other for other in others)


def _less(first: Value, second: Value) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first < second
    return _number(first) < _number(second)


def _number(value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateError(f"{printed(value)!r} is not a number")
    return value


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, int):
        raise TemplateError(f"len of {printed(value)!r}, which is neither a list nor a string")
    return len(value)


def _index(items: Value, *places: Value) -> Value:
    for place in places:
        if isinstance(items, (str, int, Mapping)):
            raise TemplateError(f"index into {printed(items)!r}, which is not a list")
        if not 0 <= _number(place) < len(items):
            raise TemplateError(f"index {printed(place)} is outside of a list of {len(items)}")
        items = items[_number(place)]
    return items


def _printf(template: Value, *values: Value) -> str:
    remaining = list(values)

    def replaced(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if match[1] not in ("s", "d", "v", "q") or not remaining:
            raise TemplateError(f"printf: {match[0]!r} is not possible here (%s %d %v %q, one value each)")
        text = printed(remaining.pop(0))
        return f'"{text}"' if match[1] == "q" else text

    return _VERB.sub(replaced, printed(template))


def _join(*values: Value) -> str:
    return "".join(printed(value) for value in values)


FUNCTIONS: dict[str, tuple[int, Function]] = {
    "and": (1, _and),
    "or": (1, _or),
    "not": (1, lambda value: not value),
    "eq": (2, _equal),
    "ne": (2, lambda first, second: not _equal(first, second)),
    "lt": (2, _less),
    "le": (2, lambda first, second: not _less(second, first)),
    "gt": (2, lambda first, second: _less(second, first)),
    "ge": (2, lambda first, second: not _less(first, second)),
    "len": (1, _length),
    "index": (1, _index),
    "print": (0, _join),
    "printf": (1, _printf),
}
"""By name: how many arguments at least, and what it does."""
