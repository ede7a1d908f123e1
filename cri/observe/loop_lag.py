"""How long the event loop was blocked: a timer that is late tells.

One busy callback delays every caller, and nothing else shows it: RPC latencies grow without any stage
to blame.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 1.0
WARN_SECONDS = 0.5


async def watch_loop_lag(observe: Callable[[float], None], period_seconds: float = PERIOD_SECONDS) -> None:
    """Report the loop's lag in seconds once a period, for ever; made for `Supervisor.keep`."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + period_seconds
        await asyncio.sleep(period_seconds)
        lag = max(0.0, loop.time() - due)
        observe(lag)
        if lag >= WARN_SECONDS:
            log.warning("event loop was blocked", seconds=round(lag, 3))
