"""`cri-shim pod logs`: a container's log file without the CRI framing, standard output and error apart.

The file is the one that ContainerStatus names. Following survives rotation: when the path leads to another
file, the old one is read to its end first.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from api.wire import criv1 as cri
from cri.errors import FailedPrecondition

if TYPE_CHECKING:
    from cri.app.pod.node import Node

POLL_SECONDS = 0.2
BLOCK_BYTES = 1 << 20


async def print_log(
    node: Node, container_id: str, out: IO[bytes], err: IO[bytes], *, follow: bool, tail: int | None
) -> None:
    """Copy the log to `out` and `err`; with `follow`, until the container has ended.

    `tail` is the number of last lines to begin with, None for all. Raises FailedPrecondition for a container
    without a log file.
    """
    status = await node.container_status(container_id)
    if not status.log_path:
        raise FailedPrecondition(f"container {status.metadata.name} writes no log file")
    with LogReader(Path(status.log_path)) as reader:
        records = await asyncio.to_thread(reader.read)
        _write(records if tail is None else deque(records, maxlen=tail), out, err)
        while follow:
            ended = status.state == cri.CONTAINER_EXITED
            records = await asyncio.to_thread(reader.read)
            _write(records, out, err)
            if ended and not records:
                return
            if not records:
                await asyncio.sleep(POLL_SECONDS)
                status = await node.container_status(container_id)


class LogReader:
    """Reads what is new in a log file that may be rotated meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self) -> list[tuple[bytes, bytes]]:
        """The records since the last call as (stream, content with its newline); blocks on the disk only."""
        if self._file is None and not self._open():
            return []
        records = self._drain()
        if self._rotated():
            records += self._drain()  # what came between the last read and the rename
            self._close()
            if self._open():
                records += self._drain()
        return records

    def _drain(self) -> list[tuple[bytes, bytes]]:
        records: list[tuple[bytes, bytes]] = []
        assert self._file is not None  # noqa: S101 - callers open first
        while block := self._file.read(BLOCK_BYTES):
            *lines, self._rest = (self._rest + block).split(b"\n")
            records += [record for record in map(parse_record, lines) if record is not None]
        return records

    def _rotated(self) -> bool:
        assert self._file is not None  # noqa: S101 - callers open first
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False  # between rename and reopen
        here = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        self._rest = b""
        return True

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def parse_record(line: bytes) -> tuple[bytes, bytes] | None:
    """Stream and content of `TIME STREAM TAGS CONTENT`; a partial record (tag P) gets no newline."""
    parts = line.split(b" ", 3)
    if len(parts) != 4:
        return None
    _time, stream, tags, content = parts
    return stream, content if b"P" in tags.split(b":") else content + b"\n"


def _write(
    records: list[tuple[bytes, bytes]] | deque[tuple[bytes, bytes]], out: IO[bytes], err: IO[bytes]
) -> None:
    for stream, content in records:
        (err if stream == b"stderr" else out).write(content)
    out.flush()
    err.flush()
