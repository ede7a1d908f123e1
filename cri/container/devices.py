"""Device nodes of the host, as a request names them. Blocking reads of /dev; the rules are in `cri.oci.devices`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.oci.devices import DeviceSource, HostDevice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from api.wire import criv1

NOT_DEVICES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
"""Directories below /dev whose nodes belong to some process or mount, never to a container."""
NOT_SHARED = frozenset({"console"})


def device_sources(devices: Iterable[criv1.Device]) -> Mapping[str, DeviceSource]:
    """By `host_path` of the request. Raises InvalidArgument for a path that is neither a node nor a directory."""
    return {device.host_path: _source(device.host_path) for device in devices if device.host_path}


def host_devices() -> tuple[HostDevice, ...]:
    """Every device node below /dev, for privileged containers."""
    return tuple(_nodes_below("/dev"))


def node(path: str) -> HostDevice | None:
    """The device node at `path`, None if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else None
    if kind is None:
        return None
    return HostDevice(
        path=path,
        type=kind,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        file_mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
    )


def _source(path: str) -> DeviceSource:
    try:
        resolved = os.path.realpath(path, strict=True)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"devices: host_path {path!r} cannot be used: {error}") from error
    if Path(resolved).is_dir():
        return DeviceSource(resolved, tuple(_nodes_below(resolved)))
    found = node(resolved)
    if found is None:
        raise InvalidArgument(f"devices: host_path {path!r} is not a device node")
    return DeviceSource(resolved, (found,))


def _nodes_below(directory: str) -> Iterator[HostDevice]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in NOT_DEVICES:
                    yield from _nodes_below(entry.path)
            elif entry.name not in NOT_SHARED:
                found = node(entry.path)
                if found is not None:
                    yield found
