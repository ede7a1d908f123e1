"""Mounts, on the real kernel, below a temporary directory."""

import os
from pathlib import Path

import pytest

from cri.linux import mounts
from cri.linux.mounts import Propagation, _parse, bind, is_mount_point, mount_table, mount_tmpfs, unmount
from cri.linux.snapshot_mounts import Mount, mounted, with_mounted


@pytest.fixture
def place(tmp_path):
    yield tmp_path
    for entry in reversed(mount_table()):
        if entry.mount_point.startswith(f"{tmp_path}/"):
            unmount(Path(entry.mount_point))


def make(place: Path, *names: str) -> list[Path]:
    paths = [place / name for name in names]
    for path in paths:
        path.mkdir()
    return paths


def test_bind_shows_the_source_and_unmount_is_idempotent(place):
    source, target = make(place, "source", "target")
    (source / "file").write_text("here")
    bind(source, target)
    assert (target / "file").read_text() == "here"
    assert is_mount_point(target)
    unmount(target)
    unmount(target)
    unmount(place / "missing")
    unmount(source / "file" / "below-a-file")
    assert not is_mount_point(target)
    assert not is_mount_point(place / "missing")


def test_unmount_takes_a_whole_stack(place):
    source, target = make(place, "source", "target")
    for _ in range(3):
        bind(source, target)
    unmount(target)
    assert not is_mount_point(target)


def test_bind_of_a_file(place):
    (place / "a").write_text("a")
    (place / "b").touch()
    bind(place / "a", place / "b")
    assert is_mount_point(place / "b")
    assert not is_mount_point(place / "a")


@pytest.mark.parametrize("recursive", [False, True])
def test_read_only_bind(place, recursive):
    source, target = make(place, "source", "target")
    bind(source, target, read_only=True, recursive=recursive)
    with pytest.raises(OSError, match="Read-only"):
        (target / "file").touch()
    (source / "file").touch()


def test_read_only_holds_for_mounts_below(place):
    source, target = make(place, "source", "target")
    (source / "below").mkdir()
    mount_tmpfs(source / "below", size=1 << 20, mode=0o755)
    bind(source, target, read_only=True, recursive=True)
    with pytest.raises(OSError, match="Read-only"):
        (target / "below" / "file").touch()
    (source / "below" / "file").touch()


def test_read_only_keeps_the_flags_of_the_source(place):
    source, target = make(place, "source", "target")
    mount_tmpfs(source, size=1 << 20, mode=0o755)
    bind(source, target, read_only=True)
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounts.mount_of(target).options


def test_tmpfs_has_the_size_mode_and_flags_asked_for(place):
    (target,) = make(place, "shm")
    mount_tmpfs(target, size=64 << 20, mode=0o1777)
    found = os.statvfs(target)
    assert found.f_blocks * found.f_frsize == 64 << 20
    assert os.stat(target).st_mode & 0o7777 == 0o1777
    entry = mounts.mount_of(target / ".")
    assert entry.filesystem_type == "tmpfs"
    assert {"nosuid", "nodev", "noexec"} <= entry.options


def test_errors_name_the_path(place):
    with pytest.raises(FileNotFoundError, match=r"/nothing/here.*target"):
        bind(Path("/nothing/here"), place / "target")


def test_propagation_is_read_from_the_mount_that_holds_the_path(place):
    (target,) = make(place, "target")
    mount_tmpfs(target, size=1 << 20, mode=0o755)
    (target / "deep").mkdir()
    from cri.linux import syscalls

    syscalls.mount("none", target, None, syscalls.MS_SHARED)
    assert mounts.propagation_of(target / "deep") is Propagation.SHARED
    syscalls.mount("none", target, None, syscalls.MS_PRIVATE)
    assert mounts.propagation_of(target / "deep") is Propagation.PRIVATE


@pytest.mark.parametrize(
    ("tags", "propagation"),
    [
        ("", Propagation.PRIVATE),
        ("shared:7", Propagation.SHARED),
        ("master:7", Propagation.SLAVE),
        ("shared:7 master:8 propagate_from:2", Propagation.SHARED_SLAVE),
        ("unbindable", Propagation.UNBINDABLE),
    ],
)
def test_mountinfo_lines(tags, propagation):
    tags = f" {tags}" if tags else ""
    entry = _parse(
        rf"36 35 98:0 /ro\040ot /mnt/a\134b\011c rw,noatime{tags} - ext3 /dev/r\303\266ot rw,errors=continue"
        "\n"
    )
    assert entry.propagation is propagation
    assert entry.root == "/ro ot"
    assert entry.mount_point == "/mnt/a\\b\tc"
    assert entry.options == {"rw", "noatime"}
    assert (entry.device, entry.filesystem_type, entry.source) == ("98:0", "ext3", "/dev/röot")
    assert entry.super_options == "rw,errors=continue"


def test_awkward_names_survive_the_real_table(place):
    (target,) = make(place, "a b\tc\\d\nü#")
    mount_tmpfs(target, size=1 << 20, mode=0o755)
    assert any(entry.mount_point == str(target) for entry in mount_table())


def test_propagation_meanings():
    assert Propagation.SHARED.sends
    assert Propagation.SHARED.receives
    assert Propagation.SLAVE.receives
    assert not Propagation.SLAVE.sends
    assert not Propagation.PRIVATE.receives


def layers(place: Path, count: int) -> Mount:
    # Overlay refuses another overlay's upper directory, and the layers' names are long as containerd's are.
    store = place / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    for number in range(count):
        (store / str(number) / "fs").mkdir(parents=True)
        (store / str(number) / "fs" / f"from-{number}").write_text(str(number))
    lower = ":".join(str(store / str(number) / "fs") for number in range(count))
    return Mount("overlay", "overlay", ["index=off", f"lowerdir={lower}"])


@pytest.mark.parametrize("count", [2, 100])
async def test_snapshot_mounts_are_seen_inside_only(tmp_path, count):
    mount = layers(tmp_path, count)

    def look(root: Path) -> tuple[str, str, bool]:
        mounted_here = str(root) in [entry.mount_point for entry in mount_table("thread-self")]
        return (root / f"from-{count - 1}").read_text(), str(root), mounted_here

    content, root, seen_inside = await with_mounted([mount], look)
    assert content == str(count - 1)
    assert seen_inside
    assert root not in [entry.mount_point for entry in mount_table()], "the mount is seen from outside"


def test_bind_snapshot_mount_is_read_only_and_undone(place):
    source, target = make(place, "source", "target")
    (source / "etc").mkdir()
    with mounted([Mount("bind", str(source), ["rbind", "ro"])], target) as root:
        assert (root / "etc").is_dir()
        with pytest.raises(OSError, match="Read-only"):
            (root / "file").touch()
    assert not is_mount_point(target)


def test_a_mount_that_fails_leaves_none_behind(place):
    source, target = make(place, "source", "target")
    good, bad = Mount("bind", str(source), ["rbind"]), Mount("bind", "/nowhere", ["rbind"])
    with pytest.raises(FileNotFoundError), mounted([good, bad], target):
        pass
    assert not is_mount_point(target)
