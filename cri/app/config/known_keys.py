"""Looking up keys of the schema by their path, names of handlers and hosts included. Pure."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Union, cast

from cri.app.config.configuration import Configuration
from cri.app.config.decode import types_of

if typing.TYPE_CHECKING:
    from cri.app.config.problems import KeyPath


def is_known(path: KeyPath) -> bool:
    """Whether the schema has such a key; any name is right for a handler, a host or an option."""
    return _find(Configuration, path) is not None


def default_of(path: KeyPath) -> object:
    """The key's default, also below a handler or host that is not there by default; None if it has none."""
    found = _find(Configuration, path)
    if found is None or found.field is None:
        return None
    return str(found.field.default) if isinstance(found.field.default, float) else found.field.default


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    field: dataclasses.Field[object] | None
    """None for a key in a mapping, which has no declaration of its own."""


def _find(kind: object, path: KeyPath) -> _Found | None:
    if typing.get_origin(kind) in (types.UnionType, Union):
        kind = typing.get_args(kind)[0]
    if not path:
        return None
    if dataclasses.is_dataclass(kind):
        declared = {field.name: field for field in dataclasses.fields(kind)}
        if path[0] not in declared:
            return None
        if len(path) == 1:
            return _Found(declared[path[0]])
        return _find(types_of(cast(Any, kind))[path[0]], path[1:])
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is None or len(arguments) != 2 or arguments[1] is ...:
        return None
    return _Found(None) if len(path) == 1 else _find(arguments[1], path[1:])
