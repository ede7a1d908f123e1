"""Files: atomic replacement, directories without following links, reading inside a foreign root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Final

from cri.linux.foreign_root import open_in_root

if TYPE_CHECKING:
    from pathlib import Path

# Files that are read from a container's root (passwd, group) are small; a huge one is an attack on our
# memory.
READ_LIMIT: Final = 16 * 1024 * 1024


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by a file with this content and exactly this mode, on disk before the old one goes.

    Readers see the old or the new content, never a part; so does the next boot after a power loss.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories_below(root: Path, relative: Path, mode: int) -> None:
    """Make the directories of `relative` that are missing, following no link below `root`. Raises OSError."""
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in relative.parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=here)
            above = here
            here = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            os.close(above)
    finally:
        os.close(here)


def open_beneath(root: Path, relative: str) -> int:
    """Open for reading as a process with `root` as its root directory would: links are resolved inside it.

    Raises FileNotFoundError, or ELOOP for magic links; never leaves `root`.
    """
    return open_in_root(root, relative, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)


def read_beneath(root: Path, relative: str, limit: int = READ_LIMIT) -> bytes:
    """The content of a regular file below `root` (see `open_beneath`). Raises EFBIG above `limit` bytes."""
    name = str(root / relative.lstrip("/"))
    descriptor = open_beneath(root, relative)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    return content
