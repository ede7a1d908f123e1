"""What happens to sandboxes and containers, told to whoever listens, at the moment it has become true in the index.

The operations announce; they do not know who listens, never wait for a listener and never fail because of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


class ChangeKind(Enum):
    """What happened; for a sandbox "started" means ready."""

    CREATED = "created"
    STARTED = "started"
    STOPPED = "stopped"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to one object."""

    kind: ChangeKind
    sandbox_id: str
    object_id: str
    """The container's id, or the sandbox's own."""
    sandbox: Sandbox | None = None
    """The sandbox, when it is not in the index any more."""


Listener = Callable[[Change], None]


class Changes:
    """The announcements of one node."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every change from now on."""
        self._listeners.append(listener)

    def sandbox(self, kind: ChangeKind, sandbox: Sandbox) -> None:
        """Announce what happened to a sandbox."""
        self._announce(Change(kind, sandbox.id, sandbox.id, sandbox))

    def container(self, kind: ChangeKind, container: Container) -> None:
        """Announce what happened to a container."""
        self._announce(Change(kind, container.record.sandbox_id, container.id))

    def _announce(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                log.exception("a listener failed", change=change.kind.value, object=change.object_id)
