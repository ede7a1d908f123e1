"""How full a filesystem is, which device it is on, and how much a directory takes."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.linux.mounts import mount_of

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    """Bytes and inodes of a whole filesystem (statvfs)."""

    capacity_bytes: int
    available_bytes: int
    """What unprivileged processes can still use."""
    used_bytes: int
    inodes: int
    inodes_free: int
    inodes_used: int


@dataclass(frozen=True, slots=True)
class DirectoryUsage:
    """What a directory tree takes on its filesystem: allocated blocks, hard links counted once."""

    used_bytes: int
    inodes: int


def filesystem_usage(path: Path) -> FilesystemUsage:
    """The usage of the filesystem that holds `path`."""
    found = os.statvfs(path)
    return FilesystemUsage(
        capacity_bytes=found.f_blocks * found.f_frsize,
        available_bytes=found.f_bavail * found.f_frsize,
        used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
        inodes_used=found.f_files - found.f_ffree,
    )


def device_of(path: Path) -> str:
    """The source of the mount that holds `path`, `/dev/sda1` for instance."""
    return mount_of(path).source


def directory_usage(path: Path) -> DirectoryUsage:
    """Walk the tree without following links or leaving its filesystem. Blocks; for a thread.

    Entries that vanish meanwhile are passed over. Raises FileNotFoundError when `path` itself is missing.
    """
    top = os.lstat(path)
    seen = {top.st_ino}
    used = top.st_blocks * 512
    waiting = [os.fspath(path)]
    while waiting:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found.st_dev != top.st_dev or found.st_ino in seen:
                    continue
                seen.add(found.st_ino)
                used += found.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return DirectoryUsage(used_bytes=used, inodes=len(seen))
