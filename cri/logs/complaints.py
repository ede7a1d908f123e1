"""What the keeper has to say for itself: lines on its standard error, which may be a file on a full disk.

Complaining must never fail, since the containers' output matters more, and must not fill a disk by itself.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

_MOST_A_MINUTE: Final = 60

_minute = 0
_said = 0


def complain(text: str) -> None:
    """One line with the time in front; beyond sixty a minute nothing is said."""
    global _minute, _said
    minute = time.time_ns() // 60_000_000_000
    if minute != _minute:
        _minute, _said = minute, 0
    _said += 1
    if _said > _MOST_A_MINUTE:
        return
    with contextlib.suppress(OSError):
        os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n".encode(errors="replace"))
