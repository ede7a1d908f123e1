"""Snapshots seen with shifted owners: the layers below an id-mapped mount (Linux 5.19 for overlay).

One mount serves all layers of a snapshot: the directory that they share. An upper layer is not mapped, because overlay
works on it as the host's root, who has no id there; it holds shifted owners, and its top directory is given away once.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cri.linux import syscalls as sys
from cri.linux.mounts import unmount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cri.linux.snapshot_mounts import Mount
    from cri.linux.user_namespaces import IdRange

LOWER: Final = "lowerdir"


@contextlib.contextmanager
def id_mapped(
    mounts: Sequence[Mount], user_namespace: Path, ids: IdRange, directory: Path
) -> Iterator[list[Mount]]:
    """`mounts` as they have to be made to see them with the ids of `user_namespace` (a path of it), which are `ids`.

    Blocking. The layers are mounted on `directory`, which is made, within the block: whoever mounts does it in time.
    Raises OSError, EINVAL where the file system cannot map ids.
    """
    shared = os.path.commonpath([path for mount in mounts for path in _layers(mount)])
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _mount_mapped(shared, user_namespace, directory)
        for mount in mounts:
            _give_upper_layer(mount, ids)
        yield [_moved(mount, shared, str(directory)) for mount in mounts]
    finally:
        release(directory)


def release(directory: Path) -> None:
    """Unmount and remove what a block of `id_mapped` that never ended left at `directory`. Blocking, idempotent."""
    unmount(directory)
    with contextlib.suppress(FileNotFoundError):
        directory.rmdir()


def _mount_mapped(source: str, user_namespace: Path, target: Path) -> None:
    tree = sys.open_tree(source, sys.OPEN_TREE_CLONE)
    try:
        namespace = os.open(user_namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sys.mount_setattr(
                "",
                sys.AT_EMPTY_PATH,
                attributes_set=sys.MOUNT_ATTR_IDMAP,
                directory=tree,
                user_namespace=namespace,
            )
        except OSError as error:
            raise OSError(error.errno, f"ids cannot be mapped here: {error.strerror}", source) from None
        finally:
            os.close(namespace)
        sys.move_mount(tree, target)
    finally:
        os.close(tree)


def _layers(mount: Mount) -> list[str]:
    if mount.type == "overlay":
        parted = (option.partition("=") for option in mount.options)
        return [path for key, _, value in parted if key == LOWER for path in value.split(":")]
    return [mount.source]


def _give_upper_layer(mount: Mount, ids: IdRange) -> None:
    """Shift the owner of the upper layer's top directory, which is the owner of `/`; the second time it is done."""
    for option in mount.options:
        key, _, upper = option.partition("=")
        if key == "upperdir":
            owner = os.stat(upper)
            if owner.st_uid < ids.size and owner.st_uid < ids.host_uid:
                os.chown(upper, ids.host_uid + owner.st_uid, ids.host_gid + min(owner.st_gid, ids.size - 1))


def _moved(mount: Mount, old: str, new: str) -> Mount:
    if mount.type != "overlay":
        return replace(mount, source=new + mount.source.removeprefix(old))
    return replace(mount, options=tuple(_moved_option(option, old, new) for option in mount.options))


def _moved_option(option: str, old: str, new: str) -> str:
    key, _, value = option.partition("=")
    if key != LOWER:
        return option
    return f"{key}={':'.join(new + path.removeprefix(old) for path in value.split(':'))}"
