"""Where the FIFOs of executed processes are; after a crash the directories tell which processes were abandoned."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cri.state.paths import NodePaths


def exec_directory(paths: NodePaths, container_id: str, exec_id: str) -> Path:
    """The directory of one process's FIFOs; it is made before the process and removed after."""
    return paths.container_state(container_id) / "exec" / exec_id


def abandoned_execs(paths: NodePaths) -> Mapping[str, tuple[str, ...]]:
    """Exec ids by container id of everything that an earlier server executed and did not end. Blocking."""
    found = {}
    for container in _names(paths.state / "containers"):
        execs = _names(paths.state / "containers" / container / "exec")
        if execs:
            found[container] = execs
    return found


def remove_exec_fifos(paths: NodePaths, container_id: str, exec_id: str) -> None:
    """Remove one process's FIFOs. Blocking, idempotent."""
    shutil.rmtree(exec_directory(paths, container_id, exec_id), ignore_errors=True)


def _names(directory: Path) -> tuple[str, ...]:
    try:
        return tuple(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return ()
