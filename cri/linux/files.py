"""Files: atomic replacement, appending without following links, reading inside a foreign root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Final

from cri.linux import syscalls as sys
from cri.linux.foreign_root import open_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def open_append_no_follow(path: Path, root: Path | None = None, mode: int = 0o640) -> int:
    """Open for appending, made when missing; a symbolic link as last component is refused (ELOOP).

    With `root`, `path` is relative to it, and no link or `..` on the way is followed out of it or at all.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    if root is None:
        return os.open(path, flags | os.O_NOFOLLOW, mode)
    with _directory(root) as directory:
        return sys.openat2(
            directory,
            str(path),
            flags=flags,
            mode=mode,
            resolve=sys.RESOLVE_BENEATH | sys.RESOLVE_NO_SYMLINKS | sys.RESOLVE_NO_MAGICLINKS,
        )


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


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
