"""A client of the servicers over a real socket, on the containerd double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from api.containerd import Client
from api.cri import CriClient
from cri.services.server import cri_server
from cri.services.settings import ServiceSettings
from tests.double import ContainerdDouble
from tests.node import DoubleNode, double_node


@pytest_asyncio.fixture
async def node(containerd: ContainerdDouble, client: Client, tmp_path: Path) -> AsyncIterator[DoubleNode]:
    async with double_node(containerd, client, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def socket(node: DoubleNode) -> AsyncIterator[str]:
    """Where the services are served."""
    server = cri_server(node.on, ServiceSettings())
    path = f"unix://{node.containerd.directory / 'cri.sock'}"
    server.add_insecure_port(path)
    await server.start()
    yield path
    await server.stop(0)


@pytest_asyncio.fixture
async def cri(socket: str) -> AsyncIterator[CriClient]:
    async with CriClient(socket) as connected:
        yield connected
