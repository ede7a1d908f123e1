"""What one pull did and how long each part took: counted while it runs, reported at its end."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.observe.stages import stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class PullReport:
    """The result of a pull and what it took. Seconds are wall time; fetch and unpack overlap."""

    reference: str
    image_id: str
    digest: str
    """What the reference stands for: an index's or manifest's digest."""
    host: str
    """Who answered for the reference: the registry or the mirror used."""
    layers: int
    reused_layers: int
    """Layers that did not have to be fetched."""
    size: int
    """Bytes of the whole image, compressed."""
    fetched_bytes: int
    engine: str
    """Who fetched and unpacked: "local" is this server, "transfer" containerd's transfer service."""
    resolve_seconds: float
    fetch_seconds: float
    unpack_seconds: float
    seconds: float


@dataclass(slots=True)
class Tally:
    """The running count of one pull."""

    began: float = field(default_factory=time.monotonic)
    fetched_bytes: int = 0
    fetched_layers: int = 0
    engine: str = "local"
    spans: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the block as a part of the pull and as a stage of the operation under way."""
        began = time.monotonic()
        try:
            with stage(name):
                yield
        finally:
            self.spans.setdefault(name, []).extend((began, time.monotonic()))

    def seconds(self, name: str) -> float:
        """From the beginning of the part's first block to the end of its last."""
        span = self.spans.get(name)
        return max(span) - min(span) if span else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the pull began."""
        return time.monotonic() - self.began
