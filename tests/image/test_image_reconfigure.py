"""An image store whose configuration is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cri.errors import InvalidArgument
from cri.image.settings import ImageSettings, RegistrySettings
from cri.image.store import ImageStore
from tests.image.conftest import MakeStore, write_hosts
from tests.image.made_images import image_of
from tests.image.scripted_registry import ScriptedRegistry


async def test_images_are_pinned_and_unpinned(registry: ScriptedRegistry, store: ImageStore) -> None:
    reference = registry.add("app", "v1", image_of(b"one"))
    await store.pull(reference)
    for pinned in (True, False):
        names = (f"{registry.host}/app*",) if pinned else ()
        store.reconfigure(ImageSettings(pinned_images=names), RegistrySettings())
        found = store.find(reference)
        assert found is not None
        assert found.pinned is pinned


async def test_the_next_pull_goes_where_the_new_configuration_says(
    registry: ScriptedRegistry, make_store: MakeStore, tmp_path: Path
) -> None:
    registry.add("team/app", "v1", image_of(b"one"))
    store = await make_store()
    tree = tmp_path / "other.d"
    tree.mkdir()
    write_hosts(tree, "registry.invalid", f'server = "http://{registry.host}"\n')
    store.reconfigure(ImageSettings(), RegistrySettings(config_path=str(tree)))
    assert store.find(await store.pull("registry.invalid/team/app:v1")) is not None


async def test_a_platform_that_is_none_changes_nothing(registry: ScriptedRegistry, store: ImageStore) -> None:
    reference = registry.add("app", "v1", image_of(b"one"))
    await store.pull(reference)
    with pytest.raises(InvalidArgument):
        store.reconfigure(
            ImageSettings(pinned_images=(reference,), platforms=("a/b/c/d",)), RegistrySettings()
        )
    found = store.find(reference)
    assert found is not None
    assert not found.pinned
