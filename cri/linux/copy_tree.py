"""Copies a directory tree with everything that a file system keeps of it: owners, modes, times, links, attributes.

For the first contents of anonymous volumes (what image authors put below a VOLUME). Links are copied, never
followed, so nothing outside of the source can be read and nothing outside of the destination written.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

LEFT_OUT_ATTRIBUTES = frozenset({"security.selinux"})
"""Labels belong to the place, not to the content."""


def copy_tree(source: Path, destination: Path) -> None:
    """Copy the contents and attributes of the directory `source` into the existing, empty directory `destination`."""
    _copy_directory(source, destination, {})


def _copy_directory(source: Path, destination: Path, links: dict[tuple[int, int], Path]) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            target = destination / entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                target.mkdir()
                _copy_directory(Path(entry.path), target, links)
                continue
            earlier = links.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
            if earlier is not None:
                os.link(earlier, target, follow_symlinks=False)
                continue
            links[status.st_dev, status.st_ino] = target
            _copy_leaf(Path(entry.path), target, status)
    _copy_attributes(source, destination, source.stat())


def _copy_leaf(source: Path, target: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, target, follow_symlinks=False)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
    _copy_attributes(source, target, status)


def _copy_attributes(source: Path, target: Path, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError:
        names = []  # a file system without extended attributes
    for name in names:
        if name not in LEFT_OUT_ATTRIBUTES:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
