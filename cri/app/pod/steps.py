"""What a person sees while a pod starts: one line a step, with its time; on a terminal it counts while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REFRESH_SECONDS = 0.1
_CLEAR = "\r\x1b[2K"
_DIM, _RED, _GREEN, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


class Step:
    """One step while it runs; `result` is shown beside it in the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.result = ""


class Steps:
    """Prints steps to a stream: plain lines, or on a terminal a line that is rewritten until the step is done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Step]:
        """Show the `async with` block as one step; an error passes through after its line was printed."""
        step = Step(name)
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(self._tick(name, began))
                try:
                    yield step
                finally:
                    ticking.cancel()
        except BaseExceptionGroup as group_error:
            self._end(step, time.monotonic() - began, failed=True)
            if len(group_error.exceptions) == 1:
                raise group_error.exceptions[0] from None
            raise
        except BaseException:
            self._end(step, time.monotonic() - began, failed=True)
            raise
        self._end(step, time.monotonic() - began, failed=False)

    def say(self, text: str = "") -> None:
        """A line between steps."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def _end(self, step: Step, seconds: float, *, failed: bool) -> None:
        mark = "failed" if failed else "ok"
        if self._live:
            mark = f"{_RED}✗{_PLAIN}" if failed else f"{_GREEN}✓{_PLAIN}"
            self._stream.write(_CLEAR)
        result = f"  {step.result}" if step.result else ""
        self.say(f"{seconds:8.3f} s  {mark}  {step.name}{result}")

    async def _tick(self, name: str, began: float) -> None:
        while self._live:
            seconds = time.monotonic() - began
            self._stream.write(f"{_CLEAR}{_DIM}{seconds:8.1f} s  …  {name}{_PLAIN}")
            self._stream.flush()
            await asyncio.sleep(REFRESH_SECONDS)
