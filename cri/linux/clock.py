"""Whether somebody keeps this machine's clock: what the kernel was told through adjtimex(2)."""

from __future__ import annotations

import ctypes
from typing import Final

_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 256
"""More than struct timex has on any architecture; all zero means: change nothing, tell the state."""


def synchronized() -> bool | None:
    """True while a time daemon disciplines the clock, False if none does, None if the kernel does not say."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR
