"""Mirrors: order, capabilities, the next one when one fails, and what a mirror is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cri.errors import NotFound
from cri.image.store import ImageStore
from tests.image.conftest import write_hosts
from tests.image.made_images import TestImage, image_of
from tests.image.scripted_registry import ScriptedRegistry, status


@pytest.fixture
def image() -> TestImage:
    return image_of(b"one", b"two")


@pytest_asyncio.fixture
async def mirror() -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry() as served:
        yield served


async def test_a_mirror_serves_a_registry_that_is_never_asked(
    mirror: ScriptedRegistry, store: ImageStore, certs: Path, image: TestImage
) -> None:
    write_hosts(certs, "registry.invalid", f'[host."http://{mirror.host}"]\n')
    mirror.add("team/app", "v1", image)
    report = await store.pull_reported("registry.invalid/team/app:v1")
    assert report.host == mirror.host
    assert report.reference == "registry.invalid/team/app:v1", "the name stays the registry's"
    assert all(asked.query == {"ns": "registry.invalid"} for asked in mirror.asked), "it is told whose"


async def test_override_path(
    mirror: ScriptedRegistry, store: ImageStore, certs: Path, image: TestImage
) -> None:
    write_hosts(certs, "docker.io", f'[host."http://{mirror.host}/v2/hub"]\noverride_path = true\n')
    mirror.add("hub/library/app", "v1", image)
    assert await store.pull("app:v1") == image.config.digest


async def test_a_mirror_that_is_down_is_tried_once(
    registry: ScriptedRegistry, store: ImageStore, certs: Path, image: TestImage
) -> None:
    write_hosts(certs, registry.host, f'server = "http://{registry.host}"\n[host."http://127.0.0.1:9"]\n')
    report = await store.pull_reported(registry.add("app", "v1", image))
    assert report.host == registry.host


async def test_a_mirror_that_lacks_a_blob(
    registry: ScriptedRegistry, mirror: ScriptedRegistry, store: ImageStore, certs: Path, image: TestImage
) -> None:
    write_hosts(certs, registry.host, f'server = "http://{registry.host}"\n[host."http://{mirror.host}"]\n')
    mirror.add("app", "v1", image)
    del mirror.blobs[image.layers[1].digest]
    assert await store.pull(registry.add("app", "v1", image)) == image.config.digest
    assert registry.paths() == [f"GET /v2/app/blobs/{image.layers[1].digest}"]


async def test_only_trusted_hosts_say_what_a_tag_means(
    registry: ScriptedRegistry, mirror: ScriptedRegistry, store: ImageStore, certs: Path, image: TestImage
) -> None:
    write_hosts(
        certs,
        registry.host,
        f'server = "http://{registry.host}"\n[host."http://{mirror.host}"]\ncapabilities = ["pull"]\n',
    )
    mirror.add("app", "v1", image)
    reference = registry.add("app", "v1", image)
    await store.pull(reference)
    assert registry.paths() == ["GET /v2/app/manifests/v1"]
    assert mirror.paths("*/manifests/*") == []
    assert len(mirror.paths("GET */blobs/*")) == 3


async def test_a_server_without_the_right_to_pull_is_not_asked(
    registry: ScriptedRegistry, store: ImageStore, certs: Path, image: TestImage
) -> None:
    write_hosts(certs, registry.host, f'server = "http://{registry.host}"\ncapabilities = ["push"]\n')
    with pytest.raises(NotFound, match="no configured host may be asked"):
        await store.pull(registry.add("app", "v1", image))
    assert registry.asked == []


async def test_a_proxy_from_the_environment(
    mirror: ScriptedRegistry,
    store: ImageStore,
    certs: Path,
    image: TestImage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_hosts(certs, "registry.invalid", 'server = "http://registry.invalid"\n')
    mirror.add("app", "v1", image)
    monkeypatch.setenv("HTTP_PROXY", f"http://{mirror.host}")
    assert await store.pull("registry.invalid/app:v1") == image.config.digest
    assert {asked.headers["host"] for asked in mirror.asked} == {"registry.invalid"}


async def test_when_all_fail_each_has_its_reason(
    registry: ScriptedRegistry, mirror: ScriptedRegistry, store: ImageStore, certs: Path
) -> None:
    write_hosts(
        certs,
        registry.host,
        f'server = "http://{registry.host}"\n[host."http://{mirror.host}"]\n[host."http://127.0.0.1:9"]\n',
    )
    mirror.fault("*", status(500), times=None)
    with pytest.raises(NotFound) as caught:
        await store.pull(f"{registry.host}/app:v1")
    message = str(caught.value)
    assert f"{registry.host}: not found (NAME_UNKNOWN: not known here)" in message
    assert f"{mirror.host}: status 500" in message
    assert "127.0.0.1:9: Connection refused" in message
