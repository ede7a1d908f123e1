"""Device nodes and device cgroup rules of a container."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.wire import criv1
from cri.oci.spec import Device, DeviceCgroup


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device node of the host, as lstat sees it."""

    path: str
    #: `c`, `b` or `p`.
    type: str
    major: int
    minor: int
    #: Permission bits only.
    file_mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """What stands behind a requested `host_path`: the path after links, and the nodes there.

    For a directory these are all nodes below it except pts, shm, fd, mqueue and console, and no FIFOs.
    """

    path: str
    nodes: tuple[HostDevice, ...]
