"""The raw system calls that the standard library lacks, through ctypes. No policy and no loops here.

Every function raises OSError with the path it worked on. ctypes releases the interpreter lock during a call,
so these may block in a thread without stopping the others. Constants are those of the kernel's uapi headers,
which are the same on every architecture unless said otherwise.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_libc = ctypes.CDLL(None, use_errno=True)

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_NOATIME: Final = 0x400
MS_NODIRATIME: Final = 0x800
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MS_SLAVE: Final = 0x80000
MS_SHARED: Final = 0x100000
MS_RELATIME: Final = 0x200000

MNT_DETACH: Final = 0x2
UMOUNT_NOFOLLOW: Final = 0x8

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWNET: Final = 0x40000000

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

NSFS_MAGIC: Final = 0x6E736673
CGROUP2_SUPER_MAGIC: Final = 0x63677270

STATX_ATTR_MOUNT_ROOT: Final = 0x2000

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_IDMAP: Final = 0x00100000
OPEN_TREE_CLONE: Final = 0x1
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4

# Calls added since Linux 5.1 have one number on all architectures.
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_OPENAT2: Final = 437
_SYS_MOUNT_SETATTR: Final = 442
_SYS_STATX: Final = {"x86_64": 332, "aarch64": 291, "riscv64": 291, "ppc64le": 383, "s390x": 379}.get(
    platform.machine(), -1
)


def _check(result: int, path: str | os.PathLike[str] | None, second: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        if second is None:
            raise OSError(number, os.strerror(number), None if path is None else os.fspath(path))
        raise OSError(number, os.strerror(number), os.fspath(path or ""), None, second)
    return result


def mount(
    source: str, target: str | os.PathLike[str], filesystem_type: str | None, flags: int, data: str = ""
) -> None:
    """mount(2). `data` holds the filesystem's own options, at most one page."""
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        None if filesystem_type is None else filesystem_type.encode(),
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, source, os.fspath(target))


def umount2(target: str | os.PathLike[str], flags: int) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def mount_setattr(
    path: str | os.PathLike[str],
    flags: int,
    *,
    attributes_set: int,
    directory: int = AT_FDCWD,
    user_namespace: int = 0,
) -> None:
    """mount_setattr(2), Linux 5.12; ENOSYS before. `user_namespace` is the descriptor that MOUNT_ATTR_IDMAP takes."""
    attributes = struct.pack("=QQQQ", attributes_set, 0, 0, user_namespace)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(directory),
        os.fsencode(path),
        ctypes.c_uint(flags),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )
    _check(result, path)


def open_tree(path: str | os.PathLike[str], flags: int) -> int:
    """open_tree(2), Linux 5.2: with OPEN_TREE_CLONE a descriptor of a new mount that is nowhere yet."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPEN_TREE),
        ctypes.c_int(AT_FDCWD),
        os.fsencode(path),
        ctypes.c_uint(flags | os.O_CLOEXEC),
    )
    return _check(result, path)


def move_mount(descriptor: int, target: str | os.PathLike[str]) -> None:
    """move_mount(2), Linux 5.2: attach the mount behind a descriptor of `open_tree` to a directory."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT),
        ctypes.c_int(descriptor),
        b"",
        ctypes.c_int(AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH),
    )
    _check(result, target)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread alone."""
    _check(_libc.unshare(flags), None)


def setns(descriptor: int, kind: int) -> None:
    """setns(2) for the calling thread alone."""
    _check(_libc.setns(descriptor, kind), None)


def set_dumpable(value: int) -> None:
    """PR_SET_DUMPABLE(2const) for this process, until it executes another program."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, value, 0, 0, 0), None)


def is_dumpable() -> bool:
    """PR_GET_DUMPABLE(2const)."""
    return _check(_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0), None) == 1


def openat2(directory: int, path: str, *, flags: int, mode: int = 0, resolve: int) -> int:
    """openat2(2), Linux 5.6: open `path` below `directory` under the rules in `resolve`."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory),
        os.fsencode(path),
        how,
        ctypes.c_size_t(len(how)),
    )
    return _check(result, path)


def filesystem_magic(path: str | os.PathLike[str]) -> int:
    """The `f_type` of statfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.statfs(os.fsencode(path), buffer), path)
    # f_type is the first word; its width differs between architectures, its value always fits 32 bits.
    kind: int = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return kind


def statx_attributes(path: str | os.PathLike[str]) -> tuple[int, int]:
    """`(stx_attributes, stx_attributes_mask)` of statx(2), not following a last symbolic link."""
    buffer = ctypes.create_string_buffer(256)
    result = _libc.syscall(
        ctypes.c_long(_SYS_STATX),
        ctypes.c_int(AT_FDCWD),
        os.fsencode(path),
        ctypes.c_int(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT),
        ctypes.c_uint(0),
        buffer,
    )
    _check(result, path)
    (attributes,) = struct.unpack_from("=Q", buffer, 8)
    (mask,) = struct.unpack_from("=Q", buffer, 56)
    return attributes, mask
