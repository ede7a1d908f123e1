"""The FIFOs of a container: where they are, who reads them, and how they are let go.

The log keeper must hold the read ends for as long as a shim may open the others: its open waits for a reader, and
while it waits the shim answers nobody, for any container of the pod. A shim may come to it late. When a server or
containerd is killed in the middle of a start, the shim goes on with what it was told, and a second attempt may have
failed by then.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cri.concurrency.threads import finished_in_thread
from cri.errors import FailedPrecondition
from cri.linux import fifo
from cri.linux.files import make_directories_below
from cri.logs.client import Followed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.container.engine import Engine
    from cri.state.container import Container


def streams_of(engine: Engine, container: Container) -> Followed:
    """The FIFOs of a container's output and the log they end up in."""
    directory = _directory(engine, container)
    terminal = container.config.tty
    return Followed(
        container_id=container.id,
        stdout=directory / "stdout",
        stderr=None if terminal else directory / "stderr",
        log_path=Path(container.record.log_path) if container.record.log_path else None,
        log_directory=_log_directory(engine, container),
        terminal=terminal,
        max_line=engine.settings.max_container_log_line_size,
        rate_limit=engine.settings.container_log_rate_limit,
        rotate_bytes=engine.settings.container_log_rotate_size,
    )


def _log_directory(engine: Engine, container: Container) -> Path | None:
    """The pod's, for a log below it; a container that was taken over has its log wherever it was."""
    sandbox = engine.node.sandboxes.find(container.record.sandbox_id)
    if sandbox is None or not sandbox.config.log_directory:
        return None
    directory = Path(os.path.normpath(sandbox.config.log_directory))
    return directory if Path(container.record.log_path).is_relative_to(directory) else None


def stdin_of(engine: Engine, container: Container) -> Path | None:
    """The FIFO of a container's standard input, None where the request asked for none."""
    return _directory(engine, container) / "stdin" if container.config.stdin else None


async def open_output(engine: Engine, followed: Followed, stdin: Path | None) -> None:
    """Make the FIFOs and have the log keeper hold the read ends. Raises FailedPrecondition, Unavailable.

    A shim that ended in an earlier attempt has brought the ends to their end; the next one would wait for a reader.
    """
    paths = [path for path in (followed.stdout, followed.stderr, stdin) if path is not None]
    await finished_in_thread(_prepare, paths, followed)
    await engine.keeper.follow_anew(followed)


async def close_output(engine: Engine, container: Container) -> None:
    """Let go of the output of a process that is gone or never came to be. Raises Unavailable.

    The FIFOs go first: where there is none, the open of a shim that comes late fails instead of waiting for a reader.
    """
    await finished_in_thread(_remove, _directory(engine, container))
    await engine.keeper.release(container.id)


def _directory(engine: Engine, container: Container) -> Path:
    return engine.paths.container_state(container.id) / "io"


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _prepare(fifos: Sequence[Path], followed: Followed) -> None:
    fifos[0].parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in fifos:
        fifo.make(path)
    if followed.log_path is not None:
        top = followed.log_directory or followed.log_path.parent
        try:
            top.mkdir(parents=True, exist_ok=True, mode=0o755)
            make_directories_below(top, followed.log_path.parent.relative_to(top), 0o755)
        except OSError as error:
            raise FailedPrecondition(
                f"log_path {followed.log_path}: its directory cannot be made without following links: {error.strerror}"
            ) from error
