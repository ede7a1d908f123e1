"""The log file of one container: appends whole batches of records, counts what cannot be written.

Only complete records stay in the file: readers take half a header for nonsense and half a content for a whole line.
A batch goes out in one write; when the disk fills up in the middle of it, the torn record is cut off again and
counted as lost. What a keeper left torn that was killed in the middle of a write is cut off when the file is opened
(or closed with a newline, should the last one be very far away). A failing disk never stops the caller: the
container would block on its full pipe. On request a file that has reached a size is set aside for a new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING

from cri.logs.complaints import complain
from cri.logs.rotation import set_aside

if TYPE_CHECKING:
    from cri.logs.format import Piece

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_MODE = 0o640
_WAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_PIECES = 512  # the kernel takes 1024 buffers in one call
_RETRY_SECONDS = 1.0
_LONGEST_TORN_BYTES = 1024 * 1024


class LogFile:
    """An open log file; with `path` None everything is discarded and nothing counts as lost."""

    def __init__(self, path: str | None, rotate_bytes: int = 0, *, directory: str = "") -> None:
        """`rotate_bytes` is the size at which it is set aside; 0 leaves that to others.

        `directory` is a part of the path that may be trusted; with "" all of it but the last name is.
        """
        self.path = path
        self._directory = directory
        self.lost_bytes = 0
        self.lost_lines = 0
        self.rotations = 0
        self.last_error = ""
        self._rotate_bytes = rotate_bytes
        self._size = 0
        self._descriptor = -1
        self._torn = False
        self._failing = False
        self._retry_at = 0.0

    def open(self) -> None:
        """Open the path anew, made when missing; on an error (OSError) the old file stays in use.

        Symbolic links and what is no regular file are refused: a pod that can write into its log directory could aim
        a link at any file, and its device node at a disk.
        """
        if self.path is None:
            return
        descriptor = _open_below(self._directory or os.path.dirname(self.path), self.path)
        self.close()
        self._descriptor = descriptor
        self._torn = _remove_torn_end(descriptor)
        self._size = os.fstat(descriptor).st_size

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, records: list[Piece]) -> None:
        """Append records; what the disk does not take is counted, never raised."""
        if self.path is None or not records:
            return
        pieces = records if len(records) <= _MOST_PIECES else [b"".join(records)]
        total = sum(len(piece) for piece in pieces)
        written = 0
        try:
            self._open_if_lost()
            self._mend()
            written = os.writev(self._descriptor, pieces)
            if written < total:
                rest = memoryview(b"".join(pieces))
                while written < total:
                    written += os.write(self._descriptor, rest[written:])
        except OSError as error:
            self._lose(b"".join(pieces), written, error)
            return
        if self._failing:
            self._failing = False
            complain(
                f"log file {self.path} can be written again; {self.lost_bytes} bytes in {self.lost_lines} lines "
                "have been lost so far"
            )
        self._size += total
        if 0 < self._rotate_bytes <= self._size:
            self._rotate(self.path)

    def _rotate(self, path: str) -> None:
        """Go on in a new file; if that fails, in the old one, until it has grown by as much again."""
        self._size = 0
        try:
            set_aside(path, self._descriptor)
            self.open()
        except OSError as error:
            complain(f"cannot rotate {path}: {error.strerror or error}")
        else:
            self.rotations += 1

    def _open_if_lost(self) -> None:
        """A file that could not be opened when following began is tried again, once a second."""
        if self._descriptor >= 0:
            return
        if time.monotonic() < self._retry_at:
            raise FileNotFoundError(self.last_error)
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self.open()

    def _mend(self) -> None:
        if self._torn:
            os.write(self._descriptor, b"\n")
            self._torn = False

    def _lose(self, batch: bytes, written: int, error: OSError) -> None:
        kept = batch.rfind(b"\n", 0, written) + 1
        if written > kept:
            self._cut(written - kept)
        self.lost_bytes += len(batch) - kept
        self.lost_lines += batch.count(b"\n", kept)
        if not self._failing:
            self._failing = True
            self.last_error = f"cannot write {self.path}: {error.strerror or error}"
            complain(self.last_error)

    def _cut(self, torn: int) -> None:
        """Remove the torn record at the end; if that fails, the next batch begins on a new line."""
        self._torn = True
        with contextlib.suppress(OSError):
            size = os.fstat(self._descriptor).st_size
            if size >= torn:
                os.ftruncate(self._descriptor, size - torn)
                self._torn = False


def _open_below(directory: str, path: str) -> int:
    """Open the log at `path`, going down from `directory` name by name without following links."""
    *way, last = os.path.relpath(path, directory).split("/")
    with contextlib.ExitStack() as opened:
        try:
            here = os.open(directory, _WAY)
            opened.callback(os.close, here)
            for name in way:
                here = os.open(name, _WAY | os.O_NOFOLLOW, dir_fd=here)
                opened.callback(os.close, here)
            descriptor = os.open(last, _FLAGS, _MODE, dir_fd=here)
        except OSError as error:
            error.filename = path
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def _remove_torn_end(descriptor: int) -> bool:
    """Cut the file back to its last newline; True when it is so far away that a torn end has to stay."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
        return False
    start = max(0, found.st_size - 1)
    if os.pread(descriptor, 1, start) == b"\n":
        return False
    start = max(0, found.st_size - _LONGEST_TORN_BYTES)
    newline = os.pread(descriptor, _LONGEST_TORN_BYTES, start).rfind(b"\n")
    if newline < 0 and start > 0:
        return True
    os.ftruncate(descriptor, start + newline + 1)
    return False
