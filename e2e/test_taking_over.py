"""Pods go from containerd's own CRI plugin to cri-shim and back, and never notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from e2e.harness.cri import connected
from e2e.harness.switching import SwitchingNode, switching_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.cri_shim_only


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def switching() -> AsyncIterator[SwitchingNode]:
    async with switching_node() as running:
        yield running


async def test_it_does_not_serve_beside_the_plugin_unless_told_to(switching: SwitchingNode) -> None:
    with pytest.raises(RuntimeError, match="the server ended with 1") as refused:
        await switching.shim.start()
    log = str(refused.value)
    assert 'disabled_plugins = ["io.containerd.grpc.v1.cri"' in log
    assert "allow_builtin_cri" in log
    assert "Traceback" not in log

    file = switching.shim.configuration_file
    file.write_text(file.read_text().replace("[containerd]\n", "[containerd]\nallow_builtin_cri = true\n"))
    try:
        await switching.shim.start()
        async with connected(switching.shim.endpoint):
            pass
        await switching.shim.stop()
    finally:
        switching.shim.write_configuration()
