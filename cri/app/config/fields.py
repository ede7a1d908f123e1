"""What is known of a configuration key besides its name, type and default: kept in the field's metadata."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_METADATA = "key"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One key's documentation and the bounds of its value."""

    text: str
    """One or two sentences for `config default` and the reference."""
    lowest: float | None = None
    highest: float | None = None
    path: bool = False
    """The value is a path (or a list of them), absolute where it is not empty."""
    must_exist: bool = False
    """The path must exist where it is not empty."""
    secret: bool = False
    """Never printed."""
    example: str = ""
    """TOML to show for keys whose default says little."""
    restart: bool = False
    """A running server does not take over another value, here or anywhere below."""


def meaning(
    text: str,
    *,
    lowest: float | None = None,
    highest: float | None = None,
    path: bool = False,
    must_exist: bool = False,
    secret: bool = False,
    example: str = "",
    restart: bool = False,
) -> Mapping[str, object]:
    """Metadata for `dataclasses.field`; the arguments are those of Meaning."""
    return MappingProxyType(
        {_METADATA: Meaning(text, lowest, highest, path, must_exist, secret, example, restart)}
    )


def meaning_of(declared: dataclasses.Field[object]) -> Meaning:
    """The meaning of a declared key. Raises KeyError for a field declared without one."""
    return cast(Meaning, declared.metadata[_METADATA])
