"""Verifier programs: consent, veto, silence; what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cri.errors import PermissionDenied
from tests.image.conftest import MakeStore
from tests.image.made_images import image_of
from tests.image.scripted_registry import ScriptedRegistry


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    directory = tmp_path / "verifiers"
    directory.mkdir()
    return directory


def program(directory: Path, name: str, script: str, mode: int = 0o755) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)


async def test_programs_are_told_name_digest_and_descriptor(
    make_store: MakeStore, registry: ScriptedRegistry, programs: Path, tmp_path: Path
) -> None:
    program(programs, "10-first", f'echo "$@" >{tmp_path}/arguments; cat >{tmp_path}/stdin; echo fine')
    program(programs, "20-second", f"touch {tmp_path}/second")
    store = await make_store(verifier_bin_dir=str(programs))
    image = image_of(b"one")
    reference = registry.add("app", "v1", image)
    await store.pull(reference)
    digest = image.manifest.digest
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == [
        *("-name", reference, "-digest", digest),
        *("-stdin-media-type", "application/vnd.oci.descriptor.v1+json"),
    ]
    assert json.loads((tmp_path / "stdin").read_text()) == image.manifest.descriptor
    assert (tmp_path / "second").exists(), "all are asked"


@pytest.mark.parametrize(
    ("script", "mode", "reason"),
    [
        ("echo not signed by us; exit 3", 0o755, r"verifier veto rejects it \(status 3\): not signed by us"),
        ("sleep 60", 0o755, "did not end within 0.2 s"),
        ("exit 0", 0o644, "Permission denied"),
    ],
)
async def test_a_veto(
    make_store: MakeStore,
    registry: ScriptedRegistry,
    programs: Path,
    assert_nothing_left: Callable[[], None],
    script: str,
    mode: int,
    reason: str,
) -> None:
    program(programs, "veto", script, mode)
    store = await make_store(verifier_bin_dir=str(programs), verifier_timeout=0.2)
    with pytest.raises(PermissionDenied, match=f"^SignatureValidationFailed: .*app:v1.*{reason}"):
        await store.pull(registry.add("app", "v1", image_of(b"one")))
    assert registry.paths("GET */blobs/*") == [], "nothing of a refused image is fetched"
    assert_nothing_left()


async def test_a_missing_directory_is_no_consent(
    make_store: MakeStore, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    store = await make_store(verifier_bin_dir=str(tmp_path / "gone"))
    with pytest.raises(PermissionDenied, match="SignatureValidationFailed"):
        await store.pull(registry.add("app", "v1", image_of(b"one")))


async def test_no_more_than_the_configured_number(
    make_store: MakeStore, registry: ScriptedRegistry, programs: Path
) -> None:
    program(programs, "10-yes", "exit 0")
    program(programs, "20-no", "exit 1")
    store = await make_store(verifier_bin_dir=str(programs), verifier_max=1)
    await store.pull(registry.add("app", "v1", image_of(b"one")))
