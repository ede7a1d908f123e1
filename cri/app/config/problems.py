"""What is wrong with a configuration: every fault found, with its place, in one error."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was given."""

    source: str
    """A file's path, or "flag --listen"."""
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault."""

    place: Place
    path: KeyPath
    message: str

    def __str__(self) -> str:
        return (
            f"{self.place}: {dotted(self.path)}: {self.message}"
            if self.path
            else f"{self.place}: {self.message}"
        )


class ConfigurationError(InvalidArgument):
    """The configuration cannot be used; `problems` has each fault, the message all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def dotted(path: KeyPath) -> str:
    """The key as TOML writes it: `registry.configs."host:5000".auth`."""
    return ".".join(part if _is_bare(part) else f'"{part}"' for part in path)


def nearest(unknown: str, known: Iterable[str]) -> str:
    """`; did you mean "…"?` with the known name most like an unknown one, else "" where none is like it."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(unknown.lower(), names, n=1, cutoff=0.6)
    return f'; did you mean "{names[close[0]]}"?' if close else ""


def _is_bare(part: str) -> bool:
    return bool(part) and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in part)
