"""Fixtures that all packages' tests share: a containerd double and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from api.containerd import Client
from tests.double import ContainerdDouble


@pytest_asyncio.fixture
async def containerd() -> AsyncIterator[ContainerdDouble]:
    """A running in-memory containerd."""
    async with ContainerdDouble() as double:
        yield double


@pytest_asyncio.fixture
async def client(containerd: ContainerdDouble) -> AsyncIterator[Client]:
    """A client of the double, in namespace k8s.io."""
    async with Client(containerd.address) as connected:
        yield connected
