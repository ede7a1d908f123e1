"""The resize stream: JSON objects `{"Width":80,"Height":24}` one after the other, in pieces of any length."""

from __future__ import annotations

import json
from typing import Final

from cri.stream.endpoints import TerminalSize

MOST_WAITING_BYTES: Final = 4096
LARGEST: Final = 0xFFFF
_DECODER = json.JSONDecoder()


class TerminalSizeReader:
    """Takes bytes in any pieces, gives sizes. After something that is no such object it gives no more."""

    def __init__(self) -> None:
        self._text = ""
        self._spoilt = False

    def feed(self, data: bytes) -> list[TerminalSize]:
        """The sizes that `data` completes; those without an area are left out."""
        if self._spoilt:
            return []
        sizes: list[TerminalSize] = []
        self._text += data.decode("ascii", "replace")
        while self._text:
            self._text = self._text.lstrip()
            try:
                value, used = _DECODER.raw_decode(self._text)
            except (ValueError, RecursionError):
                break
            self._text = self._text[used:]
            self._spoilt = not isinstance(value, dict)
            if self._spoilt:
                break
            size = _size(value)
            if size is not None:
                sizes.append(size)
        if len(self._text) > MOST_WAITING_BYTES or self._spoilt:
            self._spoilt, self._text = True, ""
        return sizes


def _size(value: dict[str, object]) -> TerminalSize | None:
    lower = {key.lower(): each for key, each in value.items()}
    width, height = lower.get("width"), lower.get("height")
    if not isinstance(width, int) or not isinstance(height, int):
        return None
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        return None
    return TerminalSize(width, height)
