"""What every task and thread is doing right now, as text: for SIGUSR1 and the listing of stuck operations.

`Task.get_stack` shows only a suspended task's outermost frame; the interesting one is at the other end of the
chain of awaits, so the chain is walked here. When the loop itself is stuck no Python signal handler runs:
therefore faulthandler, which works in C, prints the threads first.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import linecache
import signal
import sys
from typing import TYPE_CHECKING, TextIO

from cri.observe.stages import in_flight

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

DEEPEST = 100
"""Frames shown of one task; more means a cycle or a recursion."""
_WRAPPER = "coroutine_wrapper"
"""Through this compiled code, such as gRPC's, awaits a coroutine; only the garbage collector can look inside."""


def await_chain(task: asyncio.Task[object]) -> list[str]:
    """The frames a task is suspended in, outermost first, one "file:line in function: source" each."""
    awaiting: object = task.get_coro()
    lines: list[str] = []
    while awaiting is not None and len(lines) < DEEPEST:
        frame, inner = _step(awaiting)
        if frame is not None:
            lines.append(_frame_line(frame))
        awaiting = inner
    return lines


def dump(stream: TextIO) -> None:
    """Write the operations in flight and every task of the running loop with its chain of awaits."""
    running = in_flight()
    stream.write(f"operations in flight: {len(running)}\n")
    for operation in running:
        attributes = " ".join(f"{key}={value}" for key, value in operation.attributes.items())
        stages = ", ".join(f"{record.name}" for record in operation.running) or "between stages"
        stream.write(f"  {operation.name} {attributes} for {operation.age:.3f}s in {stages}\n")
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    stream.write(f"tasks: {len(tasks)}\n")
    for task in tasks:
        stream.write(f"  {task.get_name()}\n")
        stream.writelines(f"    {line}\n" for line in await_chain(task))
    stream.flush()


def install(loop: asyncio.AbstractEventLoop, stream: TextIO | None = None) -> Callable[[], None]:
    """Dump threads and tasks to `stream` (stderr) at SIGUSR1. Returns a function that takes it back."""
    target = sys.stderr if stream is None else stream
    loop.add_signal_handler(signal.SIGUSR1, dump, target)
    faulthandler.register(signal.SIGUSR1, file=target, all_threads=True, chain=True)

    def remove() -> None:
        faulthandler.unregister(signal.SIGUSR1)
        loop.remove_signal_handler(signal.SIGUSR1)

    return remove


def _step(awaiting: object) -> tuple[FrameType | None, object]:
    """The frame of one awaitable and what it awaits in turn, by name: compiled coroutines have own types."""
    for frame, inner in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
        if hasattr(awaiting, frame):
            return getattr(awaiting, frame), getattr(awaiting, inner, None)
    if type(awaiting).__name__ == _WRAPPER:
        return None, next(iter(gc.get_referents(awaiting)), None)
    return None, None


def _frame_line(frame: FrameType) -> str:
    code = frame.f_code
    line = frame.f_lineno or 0  # compiled code may have none, though the type says otherwise
    source = linecache.getline(code.co_filename, line).strip()
    return f"{code.co_filename}:{line} in {code.co_qualname}: {source}"
