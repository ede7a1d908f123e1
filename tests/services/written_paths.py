"""What this process writes, by Python's audit events (PEP 578): files opened for writing, made, renamed, removed.

A hook cannot be taken away again, so there is one for the process, which notes things only while somebody listens.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PATHS = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, None),),
    "os.setxattr": ((0, None),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
"""By event: which arguments are paths that are written, and which is the directory that each is relative to."""

_listening: list[set[Path]] = []


@contextlib.contextmanager
def written_paths() -> Iterator[set[Path]]:
    """Collects, for the duration of the block, every path that is written; links on the way are resolved."""
    if not _hooked:
        sys.addaudithook(_note)
        _hooked.append(True)
    found: set[Path] = set()
    _listening.append(found)
    try:
        yield found
    finally:
        _listening.remove(found)


_hooked: list[bool] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not _listening:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
        _add(arguments[0], None)
    for path, directory in _PATHS.get(event, ()):
        _add(arguments[path], None if directory is None else arguments[directory])


def _add(path: object, directory: object) -> None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return  # a descriptor: opening it was noted
    named = Path(os.fsdecode(path))
    if isinstance(directory, int) and directory >= 0:
        named = Path(f"/proc/self/fd/{directory}").readlink() / named
    for found in _listening:
        found.add(Path(os.path.realpath(named.parent)) / named.name)
