"""Bytes read as decisions: how a fuzzer's input, which knows only bytes, becomes something well formed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Script:
    """Takes decisions from the front; past the end every one of them is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def over(self) -> bool:
        """Nothing is left."""
        return self._position >= len(self._data)

    def block(self, length: int) -> bytes:
        """The next bytes, fewer at the end."""
        start, self._position = self._position, self._position + length
        return self._data[start : self._position]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.block(len(self._data))

    def byte(self) -> int:
        """0 to 255."""
        return int.from_bytes(self.block(1))

    def word(self) -> int:
        """32 bits."""
        return int.from_bytes(self.block(4))

    def yes(self) -> bool:
        """One of two."""
        return bool(self.byte() & 1)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of some."""
        return choices[self.byte() % len(choices)]
