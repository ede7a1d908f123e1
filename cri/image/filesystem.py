"""How much disk and how many inodes the image file system uses (ImageFsInfo)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    """One answer of ImageFsInfo: when it was measured (Unix nanoseconds), where, and how much is used."""

    timestamp: int
    mountpoint: str
    used_bytes: int
    inodes_used: int
