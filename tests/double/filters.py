"""containerd's filter language: `path op value`, comma is "and", several strings are "or".

A filter is compiled to a predicate over a lookup function, which takes a field path ("labels", "a", "b") and
returns the value or None. Syntax errors are INVALID_ARGUMENT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.double.refusals import invalid_argument

Lookup = Callable[[Sequence[str]], str | None]
Predicate = Callable[[Lookup], bool]

FIELD = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*')
OPERATOR = re.compile(r"==|!=|~=")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
ALTERNATELY_QUOTED = re.compile(r"/((?:[^/\\]|\\.)*)/|\|((?:[^|\\]|\\.)*)\|")
BARE_VALUE = re.compile(r"[^,\s]+")


def compile_filters(filters: Iterable[str]) -> Predicate:
    """A predicate that is true where any of the filters matches; without filters it always is."""
    alternatives = [_compile(text) for text in filters]
    if not alternatives:
        return lambda _lookup: True
    return lambda lookup: any(matches(lookup) for matches in alternatives)


def lookup_in(fields: Mapping[str, str | Mapping[str, str]]) -> Lookup:
    """A lookup over an object's fields by dotted name; maps (labels) take the rest of the path as key."""

    def lookup(path: Sequence[str]) -> str | None:
        whole = fields.get(".".join(path))
        if isinstance(whole, str):
            return whole or None
        labels = fields.get(path[0])
        return labels.get(".".join(path[1:])) if isinstance(labels, Mapping) else None

    return lookup


def _compile(text: str) -> Predicate:
    selectors: list[Predicate] = []
    rest = text
    while rest:
        selector, rest = _selector(text, rest)
        selectors.append(selector)
        if rest:
            if not rest.startswith(","):
                raise _syntax(text, rest)
            rest = rest[1:]
    return lambda lookup: all(matches(lookup) for matches in selectors)


def _selector(text: str, rest: str) -> tuple[Predicate, str]:
    path: list[str] = []
    while True:
        field = FIELD.match(rest)
        if field is None:
            raise _syntax(text, rest)
        path.append(json.loads(field[0]) if field[0].startswith('"') else field[0])
        rest = rest[field.end() :]
        if not rest.startswith("."):
            break
        rest = rest[1:]
    if not rest or rest.startswith(","):
        return (lambda lookup: lookup(path) is not None), rest
    operator = OPERATOR.match(rest)
    if operator is None:
        raise _syntax(text, rest)
    value, rest = _value(text, rest[2:], alternates=operator[0] == "~=")
    return _comparison(path, operator[0], value), rest


def _value(text: str, rest: str, *, alternates: bool) -> tuple[str, str]:
    if quoted := QUOTED.match(rest):
        return json.loads(quoted[0]), rest[quoted.end() :]
    if alternates and (quoted := ALTERNATELY_QUOTED.match(rest)):
        return quoted[1] or quoted[2] or "", rest[quoted.end() :]
    if bare := BARE_VALUE.match(rest):
        return bare[0], rest[bare.end() :]
    raise _syntax(text, rest)


def _comparison(path: Sequence[str], operator: str, value: str) -> Predicate:
    if operator == "==":
        return lambda lookup: lookup(path) == value
    if operator == "!=":
        return lambda lookup: lookup(path) != value
    pattern = re.compile(value)
    return lambda lookup: (found := lookup(path)) is not None and pattern.search(found) is not None


def _syntax(text: str, rest: str) -> Exception:
    return invalid_argument(f"filters: parse error: [{text}] at {rest!r}")
