"""A node on the containerd double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from api.containerd import Client
from tests.double import ContainerdDouble
from tests.node import DoubleNode, double_node


@pytest_asyncio.fixture
async def node(containerd: ContainerdDouble, client: Client, tmp_path: Path) -> AsyncIterator[DoubleNode]:
    async with double_node(containerd, client, tmp_path) as made:
        yield made
