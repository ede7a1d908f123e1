"""The file systems that writable layers lie on, and the names of block devices."""

from __future__ import annotations

import functools
import os

from cri.stats.usage import Volume


def volume_of(directory: str) -> Volume | None:
    """Size and device of the file system that holds `directory`, None when it cannot be asked. Blocking."""
    try:
        numbers = os.statvfs(directory)
        device = os.stat(directory).st_dev
    except OSError:
        return None
    return Volume(
        mountpoint=directory,
        device=device_name(os.major(device), os.minor(device)),
        size=numbers.f_blocks * numbers.f_frsize,
        inodes=numbers.f_files,
        free_inodes=numbers.f_ffree,
    )


@functools.lru_cache(maxsize=256)
def device_name(major: int, minor: int) -> str:
    """The device file of a block device, "/dev/sda1"; its numbers where it has none (overlay, tmpfs). Blocking."""
    try:
        with open(f"/sys/dev/block/{major}:{minor}/uevent", encoding="utf-8") as file:
            for line in file:
                if line.startswith("DEVNAME="):
                    return "/dev/" + line.removeprefix("DEVNAME=").strip()
    except OSError:
        pass
    return f"{major}:{minor}"
