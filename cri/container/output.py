"""Collects what a process writes into a FIFO, on the event loop, up to a limit."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Self

from cri.linux import fifo

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

MOST_BYTES = 16 << 20
"""CRI: ExecSync drops what goes beyond, without an error."""
ANSWER_BYTES = MOST_BYTES - (4 << 10)
"""What both streams may have together: kubelet and crictl refuse answers over 16 MiB whole."""
BLOCK_BYTES = 256 << 10


def fitting(stdout: bytes, stderr: bytes) -> tuple[bytes, bytes]:
    """The two cut so that they fit into one answer; the longer one gives first."""
    over = len(stdout) + len(stderr) - ANSWER_BYTES
    if over <= 0:
        return stdout, stderr
    half = ANSWER_BYTES // 2
    if len(stderr) <= half:
        return stdout[: ANSWER_BYTES - len(stderr)], stderr
    if len(stdout) <= half:
        return stdout, stderr[: ANSWER_BYTES - len(stdout)]
    return stdout[:half], stderr[:half]


class OutputCollector:
    """`with OutputCollector(path) as output:` reads until every writer has closed; `closed` says when."""

    def __init__(self, path: Path) -> None:
        self.closed = asyncio.Event()
        self._path = path
        self._blocks: list[bytes] = []
        self._size = 0
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = fifo.open_reader(self._path)
        # Until the first writer comes, a read says end-of-file; epoll stays silent, so waiting for it is safe.
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def collected(self) -> bytes:
        """What has been read so far, at most MOST_BYTES."""
        return b"".join(self._blocks)[:MOST_BYTES]

    def _readable(self) -> None:
        try:
            block = os.read(self._descriptor, BLOCK_BYTES)
        except BlockingIOError:
            return
        if not block:
            self._close()
            self.closed.set()
        elif self._size < MOST_BYTES:
            self._size += len(block)
            self._blocks.append(block)

    def _close(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
