"""A node on the containerd double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.containerd import Client
from cri.container.handlers import SandboxMode
from tests.double import ContainerdDouble
from tests.node import DoubleNode, double_node


@pytest.fixture(params=list(SandboxMode), ids=lambda mode: mode.value)
def mode(request: pytest.FixtureRequest) -> SandboxMode:
    """A sandbox behaves alike whatever holds it; a test of what differs has a parameter of its own."""
    chosen: SandboxMode = request.param
    return chosen


@pytest_asyncio.fixture
async def node(
    containerd: ContainerdDouble, client: Client, tmp_path: Path, mode: SandboxMode
) -> AsyncIterator[DoubleNode]:
    async with double_node(containerd, client, tmp_path, mode) as made:
        yield made
