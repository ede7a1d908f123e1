"""From the FIFOs of one container to its log file and its live listeners.

A step moves at most one block, so that the loop which calls it can go round all containers fairly. Reading
never waits and never stops: not for a disk that fails, not for a listener that is slow.

The end of a stream is what the kernel reports when the last writer has left. A FIFO that no writer has opened
since we did reports nothing, which is right before a container starts but also what a keeper sees that comes
to a container after its end; so `nudge`, called once the container is known to have ended, opens and closes
the write end itself: if no writer is left, the end is reported then, and if one is left, nothing happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cri.logs.complaints import complain
from cri.logs.format import RecordFormatter, Timestamps
from cri.logs.logfile import LogFile
from cri.logs.rate import RateLimit

if TYPE_CHECKING:
    from cri.logs.format import Piece
    from cri.logs.values import Counters, WireFollowed

BLOCK_BYTES = 256 * 1024
PIPE_BYTES = 1024 * 1024
_LAST_BLOCKS = 4 * PIPE_BYTES // BLOCK_BYTES  # more than a FIFO holds, bounded against a writer that goes on


class Listener(Protocol):
    """Somebody who hears a container's output live; must return at once."""

    skipped: int

    def hear(self, stream: str, block: bytes) -> None:
        """Take over a block, or skip it and count."""

    def end(self) -> None:
        """There is no more."""


class BlockReader:
    """The one read buffer of the process; a block is copied out at its real size."""

    def __init__(self) -> None:
        self._buffer = bytearray(BLOCK_BYTES)
        self._view = memoryview(self._buffer)
        self._into = [self._buffer]

    def read(self, descriptor: int) -> bytes | None:
        """What is there, empty at the end of the stream, None when nothing is there now."""
        try:
            return bytes(self._view[: os.readv(descriptor, self._into)])
        except BlockingIOError:
            return None
        except OSError as error:  # not known to happen; the other containers must go on if it does
            complain(f"cannot read a container's output: {error}")
            return b""


class Stream:
    """The read end of one FIFO and the formatter of what comes out of it."""

    def __init__(self, name: str, path: str, max_line: int) -> None:
        """Opens the FIFO without waiting for a writer. Raises OSError."""
        self.name = name
        self.formatter = RecordFormatter(name, max_line)
        self.descriptor = _open_fifo(path)

    @property
    def ended(self) -> bool:
        """Closed, at the end of the stream or by release."""
        return self.descriptor < 0

    def nudge(self) -> None:
        """Make the kernel report the end if no writer is left (see the top of the module)."""
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/self/fd/{self.descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def close(self) -> None:
        """Close the read end; idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Output:
    """Everything about one followed container: its streams, its log file, its listeners."""

    def __init__(self, followed: WireFollowed) -> None:
        """Opens the read ends, not the log. Raises OSError, then nothing is left open."""
        self.log = LogFile(
            followed["log_path"],
            followed.get("rotate_bytes", 0),
            directory=followed.get("log_directory") or "",
        )
        self.limit = RateLimit(limit) if (limit := followed.get("rate_limit", 0)) > 0 else None
        self.listeners: list[Listener] = []
        self.bytes = 0
        self.skipped_bytes = 0
        self.streams: list[Stream] = []
        try:
            for name, path in (("stdout", followed["stdout"]), ("stderr", followed["stderr"])):
                if path:
                    self.streams.append(Stream(name, path, followed["max_line"]))
        except OSError:
            self.close()
            raise

    @property
    def finished(self) -> bool:
        """Every stream has ended and all of it is written."""
        return all(stream.ended for stream in self.streams)

    def counters(self) -> Counters:
        """The figures so far, as they travel to the server."""
        return {
            "bytes": self.bytes,
            "lines": sum(stream.formatter.lines for stream in self.streams),
            "split_lines": sum(stream.formatter.split_lines for stream in self.streams),
            "lost_bytes": self.log.lost_bytes,
            "lost_lines": self.log.lost_lines,
            "suppressed_bytes": self.limit.suppressed_bytes if self.limit else 0,
            "suppressed_lines": self.limit.suppressed_lines if self.limit else 0,
            "rotations": self.log.rotations,
            "skipped_bytes": self.skipped_bytes + sum(listener.skipped for listener in self.listeners),
            "last_error": self.log.last_error,
            "finished": self.finished,
        }

    def step(self, stream: Stream, reader: BlockReader, stamps: Timestamps) -> int:
        """Move one block; answers its size, 0 without data or at the end, when the stream is closed."""
        block = reader.read(stream.descriptor)
        if block is None:
            return 0
        if not block:
            self._end(stream, stamps)
            return 0
        self.bytes += len(block)
        stamp = stamps.now()
        self._write(stream, stream.formatter.feed(block, stamp), stamp)
        for listener in self.listeners:
            listener.hear(stream.name, block)
        return len(block)

    def release(self, reader: BlockReader, stamps: Timestamps) -> None:
        """Write what is in the FIFOs at this moment, end all streams, close everything."""
        for stream in self.streams:
            for _ in range(_LAST_BLOCKS):
                if stream.ended or self.step(stream, reader, stamps) == 0:
                    break
            if not stream.ended:
                self._end(stream, stamps)
        self.close()

    def drop(self, listener: Listener) -> None:
        """Forget a listener; idempotent."""
        if listener in self.listeners:
            self.listeners.remove(listener)
            self.skipped_bytes += listener.skipped

    def close(self) -> None:
        """Close all descriptors; idempotent."""
        for stream in self.streams:
            stream.close()
        self.log.close()

    def _write(self, stream: Stream, records: list[Piece], stamp: bytes) -> None:
        if self.limit is not None:
            remark = partial(stream.formatter.remark, stamp=stamp)
            records = self.limit.admit(records, time.monotonic(), remark)
        self.log.write(records)

    def _end(self, stream: Stream, stamps: Timestamps) -> None:
        stamp = stamps.now()
        self._write(stream, stream.formatter.finish(stamp), stamp)
        if self.limit is not None:
            self.log.write(self.limit.tell(partial(stream.formatter.remark, stamp=stamp)))
        stream.close()
        if self.finished:
            for listener in list(self.listeners):
                listener.end()
                self.drop(listener)


def _open_fifo(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(22, "not a FIFO", path)
    # A deeper pipe lets the container run on while we are busy elsewhere; the limit of the machine may be
    # lower.
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return descriptor
