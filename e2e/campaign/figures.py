"""What a campaign counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Figures:
    """What was done, and what went wrong."""

    server_kills: int = 0
    containerd_kills: int = 0
    pods: int = 0
    containers: int = 0
    cut_off_starts: int = 0
    """Containers whose start was cut off: they ended with StartError and never ran."""
    execs: int = 0
    pulls: int = 0
    lines: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Calls that succeeded, by RPC."""
    again: Counter[str] = field(default_factory=Counter)
    """Calls that had to be repeated, by RPC and code."""
    swept: list[str] = field(default_factory=list)
    """What the janitor's last round removed."""
    empty_bundles: int = 0
    """Directories that containerd left of starts that were cut off: a FIFO in each, on a memory file system. It has
    forgotten them, and no request of its API leads to them.
    """
    empty_shims: int = 0
    """Shims without a container that containerd left of such starts, beside their bundles. The janitor ends only those
    whose bundle is gone: another may be about to serve the pod's next container.
    """
    losses: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    recovery_seconds: list[float] = field(default_factory=list)
    """From the start of the server's program to its first answer."""
    seconds: float = 0.0

    @property
    def changes(self) -> int:
        """Calls that changed a pod or container. Pulls are so quick that they would count for all."""
        return sum(count for name, count in self.answers.items() if not name.endswith(("Status", "Image")))

    @property
    def verdict(self) -> str:
        """Each loss and leak on a line of its own, empty when there is none."""
        lost = [f"lost: {loss}" for loss in self.losses]
        return "\n".join(lost + [f"left: {leak}" for leak in self.leaks])
