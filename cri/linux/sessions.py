"""Processes by session, and what to tell an operator of a process that will not die."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SESSION_FIELD: Final = 3
"""Index of the session id in /proc/PID/stat, counted from the state (proc(5))."""


def kill_session(leader: int, candidates: Iterable[int], number: int = signal.SIGKILL) -> list[int]:
    """Send a signal to the candidates that belong to the session of `leader` and return them.

    The leader may have ended already: its number stays the session's as long as a member lives. Only candidates are
    looked at, so that a number that the kernel used again elsewhere is never hit.
    """
    killed = []
    for pid in candidates:
        if pid == leader or _session(pid) == leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                killed.append(pid)
    return killed


def describe(pid: int) -> str:
    """One line on a process: its name, state and where in the kernel it waits, for error messages."""
    base = Path(f"/proc/{pid}")
    try:
        name = (base / "comm").read_text().strip()
        state = (base / "stat").read_text().rpartition(") ")[2].split(" ", 1)[0]
    except OSError:
        return f"process {pid} is gone"
    where = ""
    with contextlib.suppress(OSError):
        where = (base / "wchan").read_text().strip("0\n")
    return f"process {pid} ({name}) is in state {state}" + (f", waiting in {where}" if where else "")


def _session(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return int(fields[_SESSION_FIELD])
