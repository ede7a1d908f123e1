"""What two configurations differ in, key by key, and what of it a running server takes over. Pure.

A key whose meaning says `restart` keeps its value until the next start, and so does everything below it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cri.app.config.fields import Meaning, meaning_of
from cri.app.config.problems import KeyPath, dotted
from cri.app.config.render import HIDDEN, toml_value

if TYPE_CHECKING:
    from cri.app.config.configuration import Configuration

Section = TypeVar("Section")

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Change:
    """One key with another value than before; the values as TOML writes them, secrets hidden."""

    path: KeyPath
    before: str
    after: str
    needs_restart: bool

    @property
    def key(self) -> str:
        """The key as TOML writes it."""
        return dotted(self.path)


def changes(before: Configuration, after: Configuration) -> list[Change]:
    """All differences, in the order of the reference."""
    return list(_differences(before, after, (), Meaning("")))


def applicable(before: Configuration, after: Configuration) -> Configuration:
    """What a server that runs with `before` can go on with: `after`, but what needs a restart is as it was."""
    return _applicable(before, after)


def _applicable(before: Section, after: Section) -> Section:
    kept: dict[str, object] = {}
    for declared in dataclasses.fields(cast(Any, before)):
        value = getattr(before, declared.name)
        if meaning_of(declared).restart:
            kept[declared.name] = value
        elif dataclasses.is_dataclass(value):
            kept[declared.name] = _applicable(value, getattr(after, declared.name))
    return cast(Section, dataclasses.replace(cast(Any, after), **kept))


def _differences(before: object, after: object, path: KeyPath, meaning: Meaning) -> Iterator[Change]:
    if before == after:
        return
    if dataclasses.is_dataclass(before) and dataclasses.is_dataclass(after):
        for declared in dataclasses.fields(before):
            below = meaning_of(declared)
            yield from _differences(
                getattr(before, declared.name),
                getattr(after, declared.name),
                (*path, declared.name),
                dataclasses.replace(below, restart=below.restart or meaning.restart),
            )
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(name), after.get(name), (*path, name), meaning)
    else:
        yield Change(path, _shown(before, meaning), _shown(after, meaning), meaning.restart)


def _shown(value: object, meaning: Meaning) -> str:
    if value is None:
        return ABSENT
    if meaning.secret:
        return HIDDEN if value else toml_value(value)
    return toml_value(_given(value) if dataclasses.is_dataclass(value) else value)


def _given(section: object) -> Mapping[str, object]:
    """A section as a table of the keys that are not at their defaults."""
    table: dict[str, object] = {}
    for declared in dataclasses.fields(cast(Any, section)):
        value = getattr(section, declared.name)
        if value == getattr(type(section)(), declared.name):
            continue
        if meaning_of(declared).secret:
            value = HIDDEN
        table[declared.name] = _given(value) if dataclasses.is_dataclass(value) else value
    return table
