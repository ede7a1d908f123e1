"""One finding of the doctor: what is so, why that matters, and what to do, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is; the value is what reports show."""

    BROKEN = "broken"
    """Pods, or all pods of some kind, will not run."""
    LIMITED = "limited"
    """Pods run, but something that clusters commonly use does not work or is slow."""
    NOTE = "note"
    """Worth knowing; nothing has to be done."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found."""

    level: Level
    area: str
    """The part of the node that it is about: kernel, cgroups, containerd, network, disk, ..."""
    what: str
    why: str
    remedy: str
    """A command or a line of a file where there is one."""


def broken(area: str, what: str, why: str, remedy: str) -> Finding:
    """A finding that keeps pods from running."""
    return Finding(Level.BROKEN, area, what, why, remedy)


def limited(area: str, what: str, why: str, remedy: str) -> Finding:
    """A finding that takes something away."""
    return Finding(Level.LIMITED, area, what, why, remedy)


def note(area: str, what: str, why: str, remedy: str) -> Finding:
    """Something to know."""
    return Finding(Level.NOTE, area, what, why, remedy)
