"""A configuration as commented TOML: every key with its meaning. Pure.

What is printed can be loaded again and means the same; secrets are the exception, they are never printed.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from cri.app.config.decode import type_name, types_of
from cri.app.config.durations import Duration
from cri.app.config.fields import Meaning, meaning_of
from cri.app.config.problems import KeyPath, dotted

if TYPE_CHECKING:
    from cri.app.config.configuration import Configuration

WIDTH = 100
HIDDEN = "(hidden)"


def render(configuration: Configuration) -> str:
    """The configuration as a TOML file with a comment on every key."""
    return "\n".join(_section(configuration, ())).strip() + "\n"


def toml_value(value: object) -> str:
    """A value as TOML writes it. Raises TypeError for what TOML has no form for."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (Duration, str)):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{dotted((str(name),))} = {toml_value(each)}" for name, each in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def comment(text: str, width: int = WIDTH) -> str:
    """Text as wrapped comment lines."""
    return textwrap.fill(text, width, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _section(section: object, path: KeyPath) -> Iterator[str]:
    """The section's own keys first, then its tables: TOML wants that order."""
    fields = [
        (declared, getattr(section, declared.name)) for declared in dataclasses.fields(cast(Any, section))
    ]
    kinds = types_of(cast(Any, type(section)))
    for declared, value in fields:
        if value is not None and not _is_table(value):
            yield from _key(declared.name, value, meaning_of(declared), kinds[declared.name])
    for declared, value in fields:
        if value is not None and _is_table(value):
            yield from _table(value, (*path, declared.name), meaning_of(declared))


def _key(name: str, value: object, meaning: Meaning, kind: object) -> Iterator[str]:
    yield ""
    yield comment(" ".join(filter(None, (meaning.text, _bounds(meaning, kind)))))
    if meaning.example:
        yield comment(f"Example: {meaning.example}")
    shown = HIDDEN if meaning.secret and value else value
    yield f"{name} = {toml_value(shown)}"


def _table(value: object, path: KeyPath, meaning: Meaning) -> Iterator[str]:
    yield ""
    if not isinstance(value, Mapping):
        yield comment(meaning.text)
        yield f"[{dotted(path)}]"
        yield from _section(value, path)
        return
    yield comment(meaning.text)
    if not value:
        yield from (f"# {line}" for line in _example(path, meaning).splitlines())
    elif not all(dataclasses.is_dataclass(each) for each in value.values()):
        yield f"[{dotted(path)}]"
        for name, each in value.items():
            yield f"{dotted((name,))} = {toml_value((HIDDEN,) if meaning.secret else each)}"
    else:
        for name, each in value.items():
            yield f"[{dotted((*path, name))}]"
            yield from _section(each, (*path, name))


def _example(path: KeyPath, meaning: Meaning) -> str:
    return meaning.example or f"[{dotted(path)}]"


def _bounds(meaning: Meaning, kind: object) -> str:
    """What the value may be, where the default does not show it."""
    if type_name(kind).startswith("one of"):
        return type_name(kind).capitalize() + "."
    if meaning.lowest is not None and meaning.highest is not None:
        return f"From {meaning.lowest:g} to {meaning.highest:g}."
    return ""


def _is_table(value: object) -> bool:
    return dataclasses.is_dataclass(value) or isinstance(value, Mapping)
