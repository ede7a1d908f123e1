"""What a serving cri-shim tells Prometheus: where, and the text."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.harness.server import CriServer


def metrics_address(server: CriServer) -> str:
    """Where the server exposes its metrics: it chose the port itself and logged it."""
    logged = re.findall(r"metrics are served\s+address=(\S+)", server.log_file.read_text())
    return str(logged[-1])


async def exposition(server: CriServer) -> str:
    """All metrics as text."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{metrics_address(server)}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)
