"""Shell patterns over annotation keys, by the rules of Go's path.Match, on which configurations rely.

`*` and `?` do not match `/`; `[a-z]` and `[^a-z]` are sets; a backslash takes the next character as it is. A
malformed pattern matches nothing.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SET = re.compile(r"\[(\^?)((?:\\.|[^\\\]])+)\]", re.DOTALL)
_MEMBER = re.compile(r"(\\.|[^\\-])(?:-(\\.|[^\\-]))?", re.DOTALL)


@functools.cache
def matcher(pattern: str) -> Callable[[str], bool]:
    """A function that tells whether a whole key matches `pattern`."""
    translated = _translate(pattern)
    if translated is None:
        return lambda _: False
    compiled = re.compile(translated, re.DOTALL)
    return lambda key: compiled.fullmatch(key) is not None


def _translate(pattern: str) -> str | None:
    """The regular expression for `pattern`, None when it is malformed."""
    parts = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "\\":
            if at == len(pattern):
                return None
            parts.append(re.escape(pattern[at]))
            at += 1
        elif character == "[":
            found = _SET.match(pattern, at - 1)
            members = _members(found[2]) if found else None
            if found is None or members is None:
                return None
            parts.append(f"[{found[1]}{members}]")
            at = found.end()
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _members(text: str) -> str | None:
    """The inside of a set as a regular expression's, None when a range is malformed."""
    ranges = []
    at = 0
    while at < len(text):
        found = _MEMBER.match(text, at)
        if found is None:
            return None
        low = found[1][-1]
        high = found[2][-1] if found[2] else low
        if low > high:
            return None
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        at = found.end()
    return "".join(ranges)
