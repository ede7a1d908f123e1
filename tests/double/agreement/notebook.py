"""The notebook: what a scenario saw, as lines that can be compared."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field

from api.containerd import (
    ContainerdError,
)


@dataclass(slots=True)
class Notebook:
    """What a scenario saw."""

    lines: list[str] = field(default_factory=list)

    def note(self, what: str, seen: object) -> None:
        """Write down a value."""
        self.lines.append(f"{what}: {seen!r}")

    async def outcome(self, what: str, call: Awaitable[object], *, value: bool = True) -> None:
        """Write down what a call gives, or what kind of refusal; without `value` only that it succeeded."""
        try:
            result = await call
        except ContainerdError as error:
            self.note(what, type(error).__name__)
        else:
            self.note(what, result if value else "done")
