"""A pretended container for the log tests: FIFOs, a log, and the shim's side of both."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cri.linux import fifo
from cri.logs.client import Followed

COMMAND = (sys.executable, "-m", "cri.logs.keeper")


class Pod:
    """One pretended container: its FIFOs, its log, and what the keeper is told about it."""

    def __init__(self, directory: Path, name: str, *, terminal: bool = False, max_line: int = 16384) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.id = name
        self.log = self.directory / "0.log"
        self.stdout = self.directory / "stdout"
        self.stderr = None if terminal else self.directory / "stderr"
        for path in (self.stdout, self.stderr):
            if path:
                fifo.make(path)
        self.followed = Followed(name, self.stdout, self.stderr, self.log, terminal, max_line)
        self._writers: list[int] = []

    def open(self) -> list[int]:
        """Do as the shim: open both write ends, blocking from then on."""
        for path in (self.stdout, self.stderr):
            if path:
                descriptor = fifo.open_writer(path)
                os.set_blocking(descriptor, True)
                self._writers.append(descriptor)
        return list(self._writers)

    def close(self) -> None:
        while self._writers:
            os.close(self._writers.pop())

    def records(self, path: Path | None = None) -> list[tuple[str, str, bytes]]:
        """`(stream, tag, content)` of every record; asserts that each is well-formed."""
        found = []
        data = (path or self.log).read_bytes()
        assert not data or data.endswith(b"\n"), "the log ends inside a record"
        for line in data.split(b"\n")[:-1]:
            stamp, stream, tag, content = line.split(b" ", 3)
            assert len(stamp) >= 30, f"torn record {line[:100]!r}"
            assert stream in (b"stdout", b"stderr"), f"torn record {line[:100]!r}"
            assert tag in (b"F", b"P"), f"torn record {line[:100]!r}"
            found.append((stream.decode(), tag.decode(), content))
        return found


def feed(descriptor: int, data: bytes) -> None:
    """Write all of it, from a thread: a FIFO takes a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does; `what` says in the traceback what never came."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the other process tells nobody
            await asyncio.sleep(0.005)
