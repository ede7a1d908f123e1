"""How far a pull is, for people: bars that are drawn over on a terminal, lines of text elsewhere. No I/O but writing.

What is shown comes from containerd's ingests, which both pull engines name `layer-<digest>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from api.containerd import Ingest

REF_PREFIX: Final = "layer-"
_SHORT: Final = len("sha256:") + 12
_BAR: Final = 30


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer on its way; bytes."""

    digest: str
    offset: int
    total: int

    @property
    def done(self) -> bool:
        """Whether all of it has come."""
        return 0 < self.total <= self.offset


class Display(Protocol):
    """Shows layers."""

    def show(self, layers: Iterable[Layer]) -> None:
        """Show where they stand now; all that were ever seen, in the order of their first sight."""


class Progress:
    """Remembers layers, whose ingests vanish when they are complete."""

    def __init__(self) -> None:
        self._layers: dict[str, Layer] = {}

    def update(self, ingests: Iterable[Ingest]) -> list[Layer]:
        """All layers so far, with these ingests under way now."""
        now = {ingest.ref: ingest for ingest in ingests if ingest.ref.startswith(REF_PREFIX)}
        for ref, ingest in now.items():
            self._layers[ref] = Layer(ref.removeprefix(REF_PREFIX), ingest.offset, ingest.total)
        for ref in self._layers.keys() - now.keys():
            layer = self._layers[ref]
            self._layers[ref] = Layer(layer.digest, layer.total, layer.total)
        return list(self._layers.values())


class Bars:
    """One line a layer, drawn over what was there before (ECMA-48 cursor movements)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._drawn = 0

    def show(self, layers: Iterable[Layer]) -> None:
        """Draw all lines again."""
        lines = [bar(layer) for layer in layers]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._out.write(up + "".join(f"\r{line}\x1b[K\n" for line in lines))
        self._out.flush()
        self._drawn = len(lines)


class Lines:
    """One line when a layer begins, one when it is complete."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._said: dict[str, bool] = {}

    def show(self, layers: Iterable[Layer]) -> None:
        """Say what is new."""
        for layer in layers:
            if self._said.get(layer.digest) == layer.done:
                continue
            self._said[layer.digest] = layer.done
            what = "fetched" if layer.done else "fetching"
            self._out.write(f"{layer.digest[:_SHORT]}  {what} {megabytes(layer.total)}\n")
        self._out.flush()


def bar(layer: Layer) -> str:
    """`sha256:0123456789ab  [=====>     ]  12.3 MB / 20.0 MB`."""
    share = min(1.0, layer.offset / layer.total) if layer.total else 0.0
    filled = round(share * _BAR)
    drawn = ("=" * filled + (">" if filled < _BAR else "")).ljust(_BAR)[:_BAR]
    return f"{layer.digest[:_SHORT]}  [{drawn}]  {megabytes(layer.offset)} / {megabytes(layer.total)}"


def megabytes(count: int) -> str:
    """Bytes in MB, with a digit after the point."""
    return f"{count / 1e6:.1f} MB"
