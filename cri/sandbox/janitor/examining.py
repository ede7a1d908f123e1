"""What is worth knowing of a leftover before it goes: how old, how big, and whether processes still use it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from cri.sandbox.janitor.finding import ALIVE_REASONS
from cri.sandbox.janitor.values import Kind, Leftover, Remedy, Thing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ON_DISK = frozenset({Kind.SANDBOX_FILES, Kind.CONTAINER_FILES})


def examined(found: Sequence[Leftover], things: Iterable[Thing]) -> tuple[Leftover, ...]:
    """The same leftovers with age and size; a namespace with processes in it is only reported. Blocking."""
    if not found:
        return ()
    since = {(thing.kind, thing.name): thing.since for thing in things}
    inhabited = (
        _inhabited_namespaces()
        if any(each.kind is Kind.NETWORK_NAMESPACE for each in found)
        else frozenset[int]()
    )
    return tuple(_examined(each, since.get((each.kind, each.name), 0), inhabited) for each in found)


def _examined(leftover: Leftover, since: int, inhabited: frozenset[int]) -> Leftover:
    age = max(0.0, (time.time_ns() - since) / 1e9) if since else None
    size = _size(leftover.name) if leftover.kind in ON_DISK else None
    known = replace(leftover, age_seconds=age, size=size)
    if leftover.kind is Kind.NETWORK_NAMESPACE and _inode(leftover.name) in inhabited:
        return replace(known, reason=ALIVE_REASONS[leftover.kind], remedy=Remedy.REPORT)
    return known


def _size(directory: str) -> int:
    """Bytes of the files below, without crossing into what is mounted there."""
    total = 0
    device = _device(directory)
    for path, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if _device(os.path.join(path, name)) == device]
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _device(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.lstat(path).st_dev
    return -1


def _inode(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(path).st_ino
    return -1


def _inhabited_namespaces() -> frozenset[int]:
    """Inodes of the network namespaces that processes are in."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.add(os.stat(f"/proc/{entry.name}/ns/net").st_ino)
    return frozenset(found)
