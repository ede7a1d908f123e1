"""The line on which each key of a TOML text stands, for error messages. Pure.

tomllib reads values but keeps no positions. Table headers and keys are found here by their shape, line by
line; the text is known to be valid TOML. A key inside a multi-line value or inline table answers the line of
the nearest key around it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cri.app.config.problems import KeyPath

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_EACH_PART = re.compile(_PART)


class KeyLines:
    """Answers the line, counted from 1, of a key path."""

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = _parts(header[1])
                for length in range(1, len(table) + 1):
                    self._note(table[:length], number)
            elif key := _KEY.match(line):
                self._note(table + _parts(key[1]), number)

    def line(self, path: KeyPath) -> int | None:
        """The line of the key itself or of the nearest table around it; None where neither is written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None

    def _note(self, path: KeyPath, number: int) -> None:
        self._lines.setdefault(path, number)


def _parts(dotted: str) -> KeyPath:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in _EACH_PART.findall(dotted))
