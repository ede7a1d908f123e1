"""The configuration reference as Markdown, from the same table as everything else: `docs/configuration.md`. Pure.

python -m cri.app.config.reference > docs/configuration.md
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, cast, get_args, get_origin

from cri.app.config.configuration import Configuration
from cri.app.config.decode import type_name, types_of
from cri.app.config.fields import meaning_of
from cri.app.config.render import toml_value

if TYPE_CHECKING:
    from cri.app.config.fields import Meaning
    from cri.app.config.problems import KeyPath

HEAD = """\
# Configuration reference

`/etc/cri-shim/config.toml`, or what `--config` names. Keys have the names and places that they have in containerd's CRI
plugin, because operators know them; keys of our own are marked so. Times are written like `"1m30s"`. An unknown key, a
wrong type or a value out of range is an error that names the line and the nearest known key.

    cri-shim config default      a file with every key, its default and its meaning
    cri-shim config check        what is wrong with a file
    cri-shim config show         what is in effect
    cri-shim config migrate      containerd's configuration (version 1, 2 or 3) turned into ours
    cri-shim reload              have a running server take over the changed file

`cri-shim reload` and SIGHUP make a running server read the file again: all of it is taken over, or, if there is a fault
anywhere, nothing. What it cannot take over while it runs is marked: it needs a restart, which disturbs no pod.

This page is made from the code (`make docs`); a test keeps it so.
"""


def reference() -> str:
    """The page."""
    return HEAD + "".join(_section(Configuration, (), "Top level", ""))


def _section(section: type, path: KeyPath, title: str, text: str) -> Iterator[str]:
    """The section's keys as a table, then the sections below it."""
    kinds = types_of(cast(Any, section))
    defaults = section()
    fields = [(declared, kinds[declared.name]) for declared in dataclasses.fields(section)]
    yield f"\n## {title}\n\n" + (f"{text}\n\n" if text else "")
    keys = [(declared, kind) for declared, kind in fields if _below(kind) is None]
    if keys:
        yield "| key | type | default | meaning |\n|---|---|---|---|\n"
    for declared, kind in keys:
        default = getattr(defaults, declared.name)
        yield f"| `{declared.name}` | {type_name(kind)} | {_value(default)} | {_text(meaning_of(declared))} |\n"
    for declared, kind in fields:
        below = _below(kind)
        if below is None:
            continue
        name, nested = (*path, declared.name), below[0]
        if below[1]:
            name = (*name, "NAME")
        yield from _section(nested, name, f"`[{'.'.join(name)}]`", _text(meaning_of(declared)))


def _below(kind: object) -> tuple[type, bool] | None:
    """The section that a key holds, and whether it holds several by name; None for a plain value."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind, False
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return next((found for each in arguments if (found := _below(each)) is not None), None)
    if get_origin(kind) is Mapping and len(arguments) == 2:
        found = _below(arguments[1])
        return (found[0], True) if found is not None else None
    return None


def _value(default: object) -> str:
    return f"`{toml_value(default)}`" if default is not None else "none"


def _text(meaning: Meaning) -> str:
    bounds = []
    if meaning.lowest is not None:
        bounds.append(f"at least {meaning.lowest:g}")
    if meaning.highest is not None:
        bounds.append(f"at most {meaning.highest:g}")
    parts = (
        meaning.text,
        f"({', '.join(bounds)})" if bounds else "",
        "Needs a restart." if meaning.restart else "",
    )
    return " ".join(filter(None, parts)).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
