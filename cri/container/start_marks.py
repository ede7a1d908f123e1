"""Marks that containerd was asked to start a container's process, for a server that comes after a crash.

"Running" is written into the record beside the start. If server and containerd both die there, the record may still say
created, and containerd forgets a process that has ended. Without the mark the container would be started once more,
and its program would run twice. A file on a memory file system costs the start next to nothing, unlike a transaction
of containerd's; a reboot takes it away, and with it the sandbox that the container could be started in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.state.paths import NodePaths

_MARK = "start-asked"


def mark_start(paths: NodePaths, container_id: str) -> None:
    """Note that the start is asked for from now on. Idempotent; it goes with the container's other files."""
    mark = paths.container_state(container_id) / _MARK
    mark.touch(mode=0o600)


def marked_starts(paths: NodePaths) -> Callable[[str], bool]:
    """A question for whether the start of a container was ever asked for. Blocking; the marks are read at once."""
    marked = {mark.parent.name for mark in (paths.state / "containers").glob(f"*/{_MARK}")}
    return marked.__contains__
