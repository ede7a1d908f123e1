"""Fixtures of the image tests: a scripted registry and an image store on the containerd double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from api.containerd import Client
from cri.concurrency.supervision import Supervisor
from cri.image import download, exchange
from cri.image.settings import ImageSettings, RegistrySettings
from cri.image.store import ImageStore
from tests.double import ContainerdDouble
from tests.image.scripted_registry import ScriptedRegistry

MakeStore = Callable[..., Awaitable[ImageStore]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is shown by what is tried again, not by waiting."""
    monkeypatch.setattr(exchange, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(download, "LOCKED_PAUSE_SECONDS", 0.01)


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry() as served:
        yield served


@pytest_asyncio.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    async with Supervisor() as supervised:
        yield supervised
        assert supervised.names == [], "background tasks are left over"


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """An empty certs.d tree; `write_hosts` fills it."""
    tree = tmp_path / "certs.d"
    tree.mkdir()
    return tree


@pytest_asyncio.fixture
async def make_store(client: Client, supervisor: Supervisor, certs: Path) -> MakeStore:
    async def make(registry: RegistrySettings | None = None, **settings: object) -> ImageStore:
        chosen = registry or RegistrySettings(config_path=str(certs))
        store = ImageStore(client, ImageSettings(**settings), chosen, supervisor)
        await store.load()
        return store

    return make


@pytest_asyncio.fixture
async def store(make_store: MakeStore) -> ImageStore:
    return await make_store()


@pytest.fixture
def assert_nothing_left(containerd: ContainerdDouble) -> Callable[[], None]:
    """After a failed or cancelled pull and a garbage collection containerd has nothing."""

    def check() -> None:
        before = containerd.leftovers()
        assert not before.leases, f"leases are left: {before.leases}"
        assert not before.ingests, f"ingests are left: {before.ingests}"
        containerd.collect_garbage()
        assert not containerd.leftovers(), f"left after garbage collection: {containerd.leftovers()}"

    return check


def write_hosts(tree: Path, host: str, text: str) -> None:
    """Put a hosts.toml into a certs.d tree."""
    directory = tree / host.replace(":", "_").rstrip("_")
    if ":" in host:
        directory = tree / (host.replace(":", "_") + "_")
    directory.mkdir(exist_ok=True)
    (directory / "hosts.toml").write_text(text)
