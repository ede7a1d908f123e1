"""User namespaces are pinned with their network, and snapshots are seen with their ids."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cri.linux.id_mapped_mounts import id_mapped, release
from cri.linux.mounts import is_mount_point, unmount
from cri.linux.namespaces import NamespaceSet, is_namespace, remove_network_namespace, unpin
from cri.linux.snapshot_mounts import Mount, mount_snapshot
from cri.linux.user_namespaces import IdRange, pin_user_namespace

IDS = IdRange(host_uid=300_000, host_gid=400_000, size=65_536)


@pytest_asyncio.fixture
async def pins(tmp_path: Path) -> AsyncIterator[tuple[Path, Path]]:
    user, network = tmp_path / "user", tmp_path / "net"
    yield user, network
    unpin(user)
    await remove_network_namespace(network)


def inside(user: Path, command: str, network: Path | None = None) -> str:
    joined = [f"--user={user}", *([f"--net={network}"] if network else [])]
    return subprocess.run(
        ["nsenter", *joined, "--", "sh", "-c", command], check=True, capture_output=True, text=True, cwd="/"
    ).stdout


async def test_ids_and_the_network_are_the_namespaces(pins: tuple[Path, Path]):
    user, network = pins
    await pin_user_namespace(IDS, user, NamespaceSet(network))
    assert is_namespace(user)
    assert is_namespace(network)
    assert inside(user, "cat /proc/self/uid_map").split() == ["0", "300000", "65536"]
    assert inside(user, "cat /proc/self/gid_map").split() == ["0", "400000", "65536"]
    inside(user, "ip addr add 192.0.2.1/32 dev lo", network)  # only its owner's root may
    assert "192.0.2.1" in inside(user, "ip addr show dev lo up", network)


async def test_a_taken_path_leaves_neither_pin(pins: tuple[Path, Path]):
    user, network = pins
    network.touch()
    with pytest.raises(FileExistsError):
        await pin_user_namespace(IDS, user, NamespaceSet(network))
    assert not user.exists()
    assert not is_namespace(network)


async def test_impossible_ids_are_refused(pins: tuple[Path, Path]):
    user, _ = pins
    with pytest.raises(OSError, match="Invalid argument"):
        await pin_user_namespace(IdRange(0, 0, 0), user, NamespaceSet())
    assert not user.exists()


async def test_an_overlay_is_seen_with_shifted_owners(pins: tuple[Path, Path], tmp_path: Path):
    user, _ = pins
    await pin_user_namespace(IDS, user, NamespaceSet())
    layers = tmp_path / "snapshots"
    for name in ("1", "2", "upper", "work", "merged"):
        (layers / name).mkdir(parents=True)
    (layers / "1" / "file").write_text("content")
    os.chown(layers / "1" / "file", 1000, 2000)
    options = (f"lowerdir={layers}/2:{layers}/1", f"upperdir={layers}/upper", f"workdir={layers}/work")
    with id_mapped([Mount("overlay", "overlay", options)], user, IDS, tmp_path / "mapped") as mounts:
        mount_snapshot(mounts, layers / "merged")
    assert not (tmp_path / "mapped").exists()
    try:
        seen = (layers / "merged" / "file").stat()
        assert (seen.st_uid, seen.st_gid) == (301_000, 402_000)
        root = (layers / "merged").stat()
        assert (root.st_uid, root.st_gid) == (300_000, 400_000)
        os.chown(layers / "merged" / "file", 300_005, 400_005)
        assert (layers / "1" / "file").stat().st_uid == 1000, "the layer below stays as it is"
    finally:
        unmount(layers / "merged")


async def test_a_bind_is_seen_with_shifted_owners(pins: tuple[Path, Path], tmp_path: Path):
    user, _ = pins
    await pin_user_namespace(IDS, user, NamespaceSet())
    for name in ("layer", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "layer" / "file").write_text("content")
    bind = Mount("bind", str(tmp_path / "layer"), ("rbind", "ro"))
    with id_mapped([bind], user, IDS, tmp_path / "mapped") as mounts:
        mount_snapshot(mounts, tmp_path / "target")
    try:
        assert (tmp_path / "target" / "file").stat().st_uid == 300_000
        with pytest.raises(OSError, match="Read-only"):
            (tmp_path / "target" / "new").touch()
    finally:
        unmount(tmp_path / "target")


async def test_a_block_that_never_ended_is_released(pins: tuple[Path, Path], tmp_path: Path):
    user, _ = pins
    await pin_user_namespace(IDS, user, NamespaceSet())
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "file").write_text("content")
    block = id_mapped([Mount("bind", str(tmp_path / "layer"))], user, IDS, tmp_path / "mapped")
    block.__enter__()
    assert is_mount_point(tmp_path / "mapped")
    release(tmp_path / "mapped")
    release(tmp_path / "mapped")
    assert not (tmp_path / "mapped").exists()
    assert (tmp_path / "layer" / "file").read_text() == "content"
    block.__exit__(None, None, None)
