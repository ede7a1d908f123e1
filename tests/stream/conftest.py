"""A running stream server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from cri.concurrency.supervision import Supervisor
from cri.stream.server import StreamServer
from cri.stream.settings import StreamSettings


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StreamServer]:
    made = StreamServer(StreamSettings())
    await made.start()
    async with Supervisor() as supervisor:
        supervisor.keep("streams", made.run)
        yield made
    made.close()
