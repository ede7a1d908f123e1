"""Control files that are opened once and read many times: one system call a reading instead of three.

A cgroup may vanish at any moment, and the kernel says so in several ways (the directory is gone, an open file answers
ENODEV). All of them become `CgroupGoneError`, after which a reader is of no more use. A file that the kernel does not
have while the cgroup is there reads as empty. Descriptors are few: beyond an allowance files are opened each time.
"""

from __future__ import annotations

import errno
import os
import resource

MOST_BYTES = 16384
"""More than any control file holds that is read through here (memory.stat has about 2000)."""

_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH})
_NOT_COUNTED = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL})


class CgroupGoneError(Exception):
    """The cgroup that was to be read does not exist any more."""


class Allowance:
    """How many descriptors may be held open by all readers together."""

    def __init__(self, most: int | None = None) -> None:
        """`most` None takes half of what this process may open."""
        self._left = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 if most is None else most

    def take(self) -> bool:
        """Claim one; False when there are no more."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def give_back(self, count: int) -> None:
        """Return what was claimed."""
        self._left += count


class HeldFiles:
    """The files of one cgroup. Blocking; used by one thread at a time."""

    __slots__ = ("_absent", "_allowance", "_descriptors")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._descriptors: dict[str, int] = {}
        self._absent: set[str] = set()

    def read(self, path: str) -> bytes:
        """The contents, empty where the kernel has no such file. Raises CgroupGoneError, OSError."""
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            return b"" if path in self._absent else self._first_read(path)
        try:
            return os.pread(descriptor, MOST_BYTES, 0)
        except OSError as error:
            if error.errno in _GONE:
                raise CgroupGoneError(path) from None
            raise

    def close(self) -> None:
        """Close everything. Safe to repeat."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._allowance.give_back(len(self._descriptors))
        self._descriptors.clear()

    def _first_read(self, path: str) -> bytes:
        if not self._allowance.take():
            return self._read_once(path)
        descriptor = self._open(path)
        content = b"" if descriptor is None else self._content(descriptor, path)
        if descriptor is None:
            self._allowance.give_back(1)
        elif path in self._absent:
            os.close(descriptor)
            self._allowance.give_back(1)
        else:
            self._descriptors[path] = descriptor
        return content

    def _read_once(self, path: str) -> bytes:
        descriptor = self._open(path)
        if descriptor is None:
            return b""
        try:
            return self._content(descriptor, path)
        finally:
            os.close(descriptor)

    def _open(self, path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _NOT_COUNTED:
                raise
            if not os.path.isdir(os.path.dirname(path)):
                raise CgroupGoneError(path) from None
            self._absent.add(path)
            return None

    def _content(self, descriptor: int, path: str) -> bytes:
        try:
            return os.pread(descriptor, MOST_BYTES, 0)
        except OSError as error:
            if error.errno in _NOT_COUNTED:  # pressure files exist, unreadable, where it is switched off
                self._absent.add(path)
                return b""
            if error.errno in _GONE:
                raise CgroupGoneError(path) from None
            raise
