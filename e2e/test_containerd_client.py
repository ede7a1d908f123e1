"""The containerd client on a living daemon, and the tests' double of it: both daemons' answers must be equal."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from api.containerd import Client
from cri.app.embedded import EmbeddedContainerd
from e2e.harness.node import remove_cgroups, short_directory
from tests.double import ContainerdDouble
from tests.double.agreement import CGROUP_PARENT, SCENARIOS, Notebook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOUBLED_RELEASE = "1.6."


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def daemon() -> AsyncIterator[str]:
    """A containerd of these tests' own, because they collect garbage and count what is there."""
    directory = short_directory("e2e-client")
    try:
        async with EmbeddedContainerd(directory) as containerd:
            yield containerd.address
    finally:
        remove_cgroups(CGROUP_PARENT)
        if "E2E_KEEP" not in os.environ:
            shutil.rmtree(directory, ignore_errors=True)


NOT_ON_LATER = {"output"}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_daemon_and_double_agree(name: str, daemon: str) -> None:
    async with Client(daemon) as client, ContainerdDouble() as double, Client(double.address) as doubled:
        version = (await client.version.get()).version.removeprefix("v")
        real, fake = Notebook(), Notebook()
        if name in NOT_ON_LATER and not version.startswith(DOUBLED_RELEASE):
            pytest.skip(f"runc of containerd {version} refuses the scenario's bare /dev after a failed start")
        await SCENARIOS[name](client, real)
        if not version.startswith(DOUBLED_RELEASE):
            pytest.skip(
                f"this is containerd {version}; the double plays {DOUBLED_RELEASE}x, which differs in places"
            )
        await SCENARIOS[name](doubled, fake)
    assert fake.lines == real.lines, f"the double differs from containerd {version} in {name}"
