"""When the caller of the running work stops waiting, carried in a context variable from the RPC down.

Used to tell whether an answer can still have reached its caller; nothing here cuts work short.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("caller_deadline", default=None)


def set_caller_deadline(seconds_from_now: float | None) -> None:
    """Note when the caller gives up; None if it waits for ever."""
    moment = None if seconds_from_now is None else asyncio.get_running_loop().time() + seconds_from_now
    _deadline.set(moment)


def caller_waits_longer_than(seconds: float) -> bool:
    """Whether the caller will still be there in `seconds`."""
    moment = _deadline.get()
    return moment is None or moment - asyncio.get_running_loop().time() > seconds
