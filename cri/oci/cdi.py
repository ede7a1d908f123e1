"""Container Device Interface: specifications, device names and their edits to a spec (CDI specification 1.0)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CdiRegistry:
    """All devices of the parsed specifications."""


EMPTY_REGISTRY = CdiRegistry()
