"""Fixtures that all packages' tests share: a containerd double and a client of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from api.containerd import Client
from cri.linux.mounts import mount_table, unmount
from tests.double import ContainerdDouble


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Take away mounts that a failed test has left in its directory, or pytest could never remove that."""
    yield
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    if directory is not None:
        for entry in reversed(mount_table()):
            if entry.mount_point.startswith(f"{directory}/"):
                unmount(Path(entry.mount_point))


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test does to the process-wide logging, and let no logger keep a stream that the test closes."""
    configure = structlog.configure

    def configure_without_cache(**settings: object) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_without_cache)
    before, root = structlog.get_config(), logging.getLogger()
    processors, handlers, level = list(before["processors"]), list(root.handlers), root.level
    yield
    before["processors"][:] = processors
    configure(**before)
    root.handlers[:], root.level = handlers, level


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
