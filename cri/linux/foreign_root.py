"""Opening a path as a process with another root directory would, without ever leaving that directory.

The kernel does this since 5.6 (openat2 with RESOLVE_IN_ROOT). For older kernels and for sandboxes that refuse
the call, the walk is done here: each name is opened relative to the directory before it without following
links, a link's target is walked in its place (absolute ones from the root), and `..` goes back to the
directory that we came from, at the root to the root. As only descriptors are used, nobody who renames things
meanwhile can lead us out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from cri.linux import syscalls as sys

if TYPE_CHECKING:
    from pathlib import Path

_MOST_LINKS: Final = 40  # as in the kernel
_NOT_OFFERED: Final = (errno.ENOSYS, errno.EPERM)


def open_in_root(root: Path, path: str, flags: int) -> int:
    """Open `path`, whose links are resolved inside of `root`. Raises OSError as open(2), ELOOP for magic links."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return sys.openat2(
            directory, path, flags=flags, resolve=sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS
        )
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        return _walk(directory, path, flags)
    finally:
        os.close(directory)


def _walk(root: int, path: str, flags: int) -> int:
    names = [name for name in reversed(path.split("/")) if name not in ("", ".")]
    links = 0
    with contextlib.ExitStack() as opened:
        way = [root]  # the directories from the root down to where we are
        while names:
            name = names.pop()
            if name == "..":
                del way[max(1, len(way) - 1) :]
                continue
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=way[-1])
            opened.callback(os.close, found)
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                way.append(found)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink("", dir_fd=found)
            if target.startswith("/"):
                way = [root]
            names += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        # The descriptor itself is opened again, so what it names cannot have been exchanged.
        return os.open(f"/proc/thread-self/fd/{way[-1]}", flags | os.O_CLOEXEC)
