"""Tells the service manager's watchdog that the server serves, as long as it really does.

The proof is a call like the kubelet's, over the server's own socket: it passes the listener, gRPC, the interceptors
and the event loop, and is answered from memory, so neither containerd nor a plugin that hangs gets the server
killed. While the proof fails nothing is said, and the manager ends and restarts a server that hangs.

     success ──pause for half of the watchdog's time──> probe
     failure ──a second─────────────────────────────> probe
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from api.cri import CriClient, CriError
from api.wire import criv1
from cri.linux.service_manager import ALIVE, tell

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

PAUSE_AFTER_FAILURE_SECONDS: Final = 1.0


async def keep_alive(path: Path, watchdog_seconds: float) -> None:
    """Probe the server at `path` for ever; made for `Supervisor.keep`."""
    half = watchdog_seconds / 2
    while True:
        if await serves(path, half / 2):
            tell(ALIVE)
            await asyncio.sleep(half)
        else:
            await asyncio.sleep(min(PAUSE_AFTER_FAILURE_SECONDS, half))


async def serves(path: Path, deadline_seconds: float) -> bool:
    """Whether a new client gets the server's status in time; if not, the log says why."""
    async with CriClient(str(path)) as client:
        try:
            await client.runtime.Status(criv1.StatusRequest(), timeout=deadline_seconds)
        except CriError as error:
            log.warning(
                "the server does not answer itself, the watchdog is not told",
                socket=str(path),
                code=error.code().name,
                reason=error.details(),
            )
            return False
    return True
