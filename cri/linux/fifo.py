"""FIFOs, the pipes with a name through which containerd's shims carry container output and input.

All opens are non-blocking: the plain open of a FIFO waits for the other side, and both sides waiting for each
other is how a container start hangs.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make(path: Path, mode: int = 0o600) -> None:
    """Make a FIFO with exactly these permission bits; one that is there already is kept.

    Raises FileExistsError when something else has the name.
    """
    try:
        os.mkfifo(path, mode)
    except FileExistsError:
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise
    os.chmod(path, mode)


def open_reader(path: Path) -> int:
    """Open the read end without waiting for a writer.

    Poll it: before the first writer, a read gives a false EOF.
    """
    return _open(path, os.O_RDONLY)


def open_writer(path: Path) -> int:
    """Open the write end of a FIFO that has a reader. Raises OSError ENXIO when there is none."""
    return _open(path, os.O_WRONLY)


def open_both(path: Path) -> tuple[int, int]:
    """Open both ends, `(read end, write end)`, so that a write waits for the reader that is yet to come."""
    reader = _open(path, os.O_RDONLY)
    try:
        return reader, _open(path, os.O_WRONLY)
    except BaseException:
        os.close(reader)
        raise


def open_first_writer(path: Path) -> int:
    """Open the write end before any reader is there, so that the reader's own open need not wait.

    Until the reader comes a write raises BrokenPipeError.
    """
    reader = _open(path, os.O_RDONLY)
    try:
        return _open(path, os.O_WRONLY)
    finally:
        os.close(reader)


def _open(path: Path, access: int) -> int:
    descriptor = os.open(path, access | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a FIFO", str(path))
    return descriptor
