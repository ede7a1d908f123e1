"""Mounts: bind, tmpfs, unmount, and the mount table of /proc. Snapshot mounts live in `snapshot_mounts`."""

from __future__ import annotations

import enum
import errno
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.linux import syscalls as sys

if TYPE_CHECKING:
    from pathlib import Path

# A path is stacked this deep only after as many repeated mounts; the bound keeps a racing mounter from
# holding us.
_DEEPEST_STACK = 64

# What a bind mount inherits and a remount must repeat: leaving one out would ask the kernel to clear it.
_INHERITED = {
    os.ST_NOSUID: sys.MS_NOSUID,
    os.ST_NODEV: sys.MS_NODEV,
    os.ST_NOEXEC: sys.MS_NOEXEC,
    os.ST_NOATIME: sys.MS_NOATIME,
    os.ST_NODIRATIME: sys.MS_NODIRATIME,
    os.ST_RELATIME: sys.MS_RELATIME,
}


class Propagation(enum.Enum):
    """How mounts below a mount spread to its copies (mount_namespaces(7))."""

    PRIVATE = "private"
    SHARED = "shared"
    SLAVE = "slave"
    SHARED_SLAVE = "shared,slave"
    UNBINDABLE = "unbindable"

    @property
    def sends(self) -> bool:
        """Mounts made here appear in the peers: what bidirectional propagation needs."""
        return self in (Propagation.SHARED, Propagation.SHARED_SLAVE)

    @property
    def receives(self) -> bool:
        """Mounts made by peers or the master appear here: what host-to-container propagation needs."""
        return self in (Propagation.SHARED, Propagation.SLAVE, Propagation.SHARED_SLAVE)


@dataclass(frozen=True, slots=True)
class MountInfo:
    """One line of /proc/PID/mountinfo (proc(5)), octal escapes resolved."""

    mount_id: int
    parent_id: int
    device: str
    """`major:minor` of the filesystem."""
    root: str
    """The directory of the filesystem that is mounted here."""
    mount_point: str
    options: frozenset[str]
    """Options of this mount: ro, nosuid, noexec, …"""
    propagation: Propagation
    filesystem_type: str
    source: str
    super_options: str
    """Options of the filesystem as it prints them."""


def bind(source: Path, target: Path, *, read_only: bool = False, recursive: bool = False) -> None:
    """Bind `source` on `target`, which must exist with the same kind (file or directory).

    `recursive` takes the mounts below `source` along, and `read_only` then holds for them too where the
    kernel can do that (5.12). A failed read-only step undoes the bind.
    """
    sys.mount(str(source), target, None, sys.MS_BIND | (sys.MS_REC if recursive else 0))
    if not read_only:
        return
    try:
        _make_read_only(target, recursive=recursive)
    except OSError:
        unmount(target)
        raise


def _make_read_only(target: Path, *, recursive: bool) -> None:
    if recursive:
        try:
            sys.mount_setattr(target, sys.AT_RECURSIVE, attributes_set=sys.MOUNT_ATTR_RDONLY)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        else:
            return
    present = os.statvfs(target).f_flag
    inherited = sum(flag for shown, flag in _INHERITED.items() if present & shown)
    sys.mount("none", target, None, sys.MS_REMOUNT | sys.MS_BIND | sys.MS_RDONLY | inherited)


def mount_tmpfs(
    target: Path, *, size: int, mode: int, nosuid: bool = True, nodev: bool = True, noexec: bool = True
) -> None:
    """Mount a new tmpfs of at most `size` bytes with permission bits `mode` on the directory `target`."""
    flags = (
        (sys.MS_NOSUID if nosuid else 0) | (sys.MS_NODEV if nodev else 0) | (sys.MS_NOEXEC if noexec else 0)
    )
    sys.mount("shm", target, "tmpfs", flags, f"mode={mode:o},size={size}")


def unmount(path: Path) -> None:
    """Detach everything that is mounted on `path`. No mount, or no such path, is a success."""
    for _ in range(_DEEPEST_STACK):
        try:
            sys.umount2(path, sys.MNT_DETACH | sys.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return
            raise


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted exactly here; binds of files and of the same filesystem count too."""
    try:
        attributes, known = sys.statx_attributes(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        if error.errno != errno.ENOSYS:
            raise
        attributes = known = 0
    if known & sys.STATX_ATTR_MOUNT_ROOT:
        return bool(attributes & sys.STATX_ATTR_MOUNT_ROOT)
    exact = os.path.join(os.path.realpath(path.parent), path.name)
    return any(entry.mount_point == exact for entry in mount_table())


def mount_table(pid: int | str = "self") -> list[MountInfo]:
    """The mounts that a process sees; a later entry on the same point hides the earlier.

    Raises FileNotFoundError or ProcessLookupError when the process is gone.
    """
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return [_parse(line) for line in table]


def mount_of(path: Path, pid: int | str = "self") -> MountInfo:
    """The mount of a process that `path` lies on, symbolic links followed as they are here."""
    real = os.path.realpath(path)
    best: MountInfo | None = None
    for entry in mount_table(pid):
        point = entry.mount_point
        if real != point and not real.startswith(point.rstrip("/") + "/"):
            continue
        if best is None or len(point) >= len(best.mount_point):
            best = entry
    if best is None:
        raise FileNotFoundError(errno.ENOENT, "no mount holds this path", real)
    return best


def propagation_of(path: Path) -> Propagation:
    """The propagation of the mount that `path` lies on."""
    return mount_of(path).propagation


def _parse(line: str) -> MountInfo:
    fields = line.rstrip("\n").split(" ")
    separator = fields.index("-", 6)
    return MountInfo(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2],
        root=_unescape(fields[3]),
        mount_point=_unescape(fields[4]),
        options=frozenset(fields[5].split(",")),
        propagation=_propagation(fields[6:separator]),
        filesystem_type=_unescape(fields[separator + 1]),
        source=_unescape(fields[separator + 2]),
        super_options=_unescape(fields[separator + 3]),
    )


def _propagation(tags: list[str]) -> Propagation:
    shared = any(tag.startswith("shared:") for tag in tags)
    slave = any(tag.startswith("master:") for tag in tags)
    if shared:
        return Propagation.SHARED_SLAVE if slave else Propagation.SHARED
    if slave:
        return Propagation.SLAVE
    return Propagation.UNBINDABLE if "unbindable" in tags else Propagation.PRIVATE


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    raw = re.sub(
        rb"\\([0-7]{3})",
        lambda found: bytes([int(found[1], 8)]),
        text.encode("utf-8", "surrogateescape"),
    )
    return raw.decode("utf-8", "surrogateescape")
