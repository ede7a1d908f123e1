"""From TOML values to the configuration's dataclasses, strictly: every unknown or ill-typed key is a problem.

Pure. All problems are collected rather than only the first, so that one run of `config check` shows them all;
a key with a problem keeps its default meanwhile.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal, TypeVar, Union, cast

from cri.app.config.durations import Duration
from cri.app.config.fields import Meaning, meaning_of
from cri.app.config.problems import KeyPath, Place, Problem, nearest

Section = TypeVar("Section")
Where = Callable[[KeyPath], Place]

T = TypeVar("T")
_TYPE_NAMES: Mapping[object, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
}
_FREE = Meaning("")


def decode(
    section: type[Section], values: Mapping[str, object], where: Where
) -> tuple[Section, list[Problem]]:
    """Make a `section` (a dataclass whose fields have meanings); `where` says where a key stands."""
    decoder = _Decoder(where)
    return decoder.section(section, values, ()), decoder.problems


@cache
def types_of(section: Hashable) -> Mapping[str, object]:
    """The resolved type of each key of a section."""
    return typing.get_type_hints(section)


def type_name(kind: object) -> str:
    """A type as the reference and error messages name it."""
    options = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(f'"{option}"' for option in options)
    if origin is tuple:
        return "a list of strings"
    if kind is Duration:
        return 'a duration such as "5m0s"'
    return _TYPE_NAMES.get(kind, "a table")


class _Decoder:
    def __init__(self, where: Where) -> None:
        self._where = where
        self.problems: list[Problem] = []

    def section(self, section: type[Section], values: Mapping[str, object], path: KeyPath) -> Section:
        declared = {field.name: field for field in dataclasses.fields(cast(Any, section))}
        kinds = types_of(cast(Hashable, section))
        given: dict[str, object] = {}
        for name, value in values.items():
            if name not in declared:
                self._unknown((*path, name), declared)
                continue
            try:
                given[name] = self._value(kinds[name], value, (*path, name), meaning_of(declared[name]))
            except _Unfit as unfit:
                self._report((*path, name), str(unfit))
        return section(**given)

    def _value(self, kind: object, value: object, path: KeyPath, meaning: Meaning) -> object:
        origin, options = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, Union):
            return self._value(
                next(option for option in options if option is not type(None)), value, path, meaning
            )
        if origin is Literal:
            if value not in options:
                raise _Unfit(f"expected {type_name(kind)}, got {_shown(value, meaning)}")
            return value
        if origin is tuple:
            return self._strings(value, meaning)
        if origin is not None:
            return self._mapping(options[1], _typed(dict, value, meaning), path)
        if dataclasses.is_dataclass(kind):
            return self.section(cast(type[object], kind), _typed(dict, value, meaning), path)
        return _scalar(kind, value, meaning)

    def _mapping(self, kind: object, table: Mapping[str, object], path: KeyPath) -> Mapping[str, object]:
        if kind is object:
            return MappingProxyType(dict(table))
        decoded: dict[str, object] = {}
        for name, value in table.items():
            try:
                decoded[name] = self._value(kind, value, (*path, name), _FREE)
            except _Unfit as unfit:
                self._report((*path, name), str(unfit))
        return MappingProxyType(decoded)

    def _strings(self, value: object, meaning: Meaning) -> tuple[str, ...]:
        items = _typed(list, value, meaning)
        return tuple(_string(item, meaning) for item in items)

    def _unknown(self, path: KeyPath, declared: Mapping[str, object]) -> None:
        self._report(path, f"unknown key{nearest(path[-1], declared)}")

    def _report(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self._where(path), path, message))


class _Unfit(Exception):
    """The value does not fit its key."""


def _scalar(kind: object, value: object, meaning: Meaning) -> object:
    if kind is Duration:
        return _in_range(_duration(value, meaning), meaning)
    if kind is bool:
        return _typed(bool, value, meaning)
    if kind is int:
        return _in_range(_typed(int, value, meaning), meaning)
    if kind is float:
        return _in_range(_typed(float, float(value) if type(value) is int else value, meaning), meaning)
    return _string(value, meaning)


def _string(value: object, meaning: Meaning) -> str:
    text = _typed(str, value, meaning)
    if meaning.path and text and not PurePosixPath(text.removeprefix("unix://")).is_absolute():
        raise _Unfit(f'"{text}" is not an absolute path')
    return text


def _typed(kind: type[T], value: object, meaning: Meaning) -> T:
    if type(value) is not kind:  # exactly: true is no integer here
        raise _Unfit(f"expected {type_name(kind)}, got {_shown(value, meaning)}")
    return value


def _duration(value: object, meaning: Meaning) -> Duration:
    if not isinstance(value, str):
        raise _Unfit(f"expected {type_name(Duration)}, got {_shown(value, meaning)}")
    try:
        return Duration.parse(value)
    except ValueError as error:
        raise _Unfit(str(error)) from None


def _in_range(value: float, meaning: Meaning) -> float:
    if meaning.lowest is not None and value < meaning.lowest:
        raise _Unfit(f"{value} is too low; the lowest value is {type(value)(meaning.lowest)}")
    if meaning.highest is not None and value > meaning.highest:
        raise _Unfit(f"{value} is too high; the highest value is {type(value)(meaning.highest)}")
    return value


def _shown(value: object, meaning: Meaning) -> str:
    if meaning.secret:
        return "something else"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
