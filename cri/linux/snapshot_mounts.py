"""Mounting what a snapshotter answers (type, source, options), to read files of an image or a container.

The mounts are made in a mount namespace of one thread alone. So they never spread to containers that would
keep the snapshot busy, and a crash leaves nothing behind: the namespace ends with the thread.

The kernel takes at most a page of options, and an overlay of sixty layers names more than that. Therefore the
directory that all layers share is opened once and named through /proc/thread-self/fd, which is short.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cri.linux import syscalls as sys
from cri.linux.mounts import bind, unmount
from cri.linux.threads import in_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_LAYER_OPTIONS: Final = ("lowerdir", "upperdir", "workdir")
_PAGE: Final = 4096
_FLAGS: Final = {
    "ro": sys.MS_RDONLY,
    "nosuid": sys.MS_NOSUID,
    "nodev": sys.MS_NODEV,
    "noexec": sys.MS_NOEXEC,
    "noatime": sys.MS_NOATIME,
    "nodiratime": sys.MS_NODIRATIME,
    "relatime": sys.MS_RELATIME,
    "bind": sys.MS_BIND,
    "rbind": sys.MS_BIND | sys.MS_REC,
}
_NO_FLAGS: Final = frozenset({"rw", "suid", "dev", "exec", "defaults"})


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount as containerd's snapshot service answers it (containerd.types.Mount)."""

    type: str
    source: str
    options: Sequence[str] = ()


@contextlib.contextmanager
def mounted(mounts: Sequence[Mount], target: Path) -> Iterator[Path]:
    """Have `mounts` on the directory `target` within the block, in the caller's mount namespace.

    Blocks; for a thread. Prefer `with_mounted`, which leaves nothing behind whatever happens.
    """
    mount_snapshot(mounts, target)
    try:
        yield target
    finally:
        unmount(target)


def mount_snapshot(mounts: Sequence[Mount], target: Path) -> None:
    """Mount `mounts` on the directory `target`, to stay there. Blocks; a failure leaves nothing mounted."""
    try:
        for mount in mounts:
            _apply(mount, target)
    except BaseException:
        unmount(target)
        raise


async def with_mounted(mounts: Sequence[Mount], function: Callable[[Path], T]) -> T:
    """Run `function(root)` in a thread of its own that sees `mounts` at `root`; nobody else sees them."""

    def work() -> T:
        sys.unshare(sys.CLONE_NEWNS)
        sys.mount("none", "/", None, sys.MS_REC | sys.MS_PRIVATE)
        with (
            tempfile.TemporaryDirectory(prefix="cri-shim-snapshot-") as directory,
            mounted(mounts, Path(directory)) as root,
        ):
            return function(root)

    return await in_own_thread("snapshot-mount", work)


def _apply(mount: Mount, target: Path) -> None:
    flags, data = _split_options(mount.options)
    if flags & sys.MS_BIND or mount.type == "bind":
        bind(
            Path(mount.source),
            target,
            read_only=bool(flags & sys.MS_RDONLY),
            recursive=bool(flags & sys.MS_REC),
        )
        return
    with _short_enough(data) as options:
        sys.mount(mount.source, target, mount.type, flags, ",".join(options))


def _split_options(options: Sequence[str]) -> tuple[int, list[str]]:
    flags = 0
    data: list[str] = []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option not in _NO_FLAGS:
            data.append(option)
    return flags, data


@contextlib.contextmanager
def _short_enough(options: list[str]) -> Iterator[list[str]]:
    if len(",".join(options)) < _PAGE:
        yield options
        return
    layers = [
        path
        for key, _, value in (option.partition("=") for option in options)
        if key in _LAYER_OPTIONS
        for path in value.split(":")
    ]
    shared = os.path.commonpath(layers)
    descriptor = os.open(shared, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/thread-self/fd/{descriptor}"
        yield [
            option.replace(shared, short) if option.partition("=")[0] in _LAYER_OPTIONS else option
            for option in options
        ]
    finally:
        os.close(descriptor)
