"""Shims that containerd has forgotten.

containerd knows its shims by their bundles, the directories that they work in. When the caller of Tasks.Create is
killed in mid-call, containerd 1.6 removes the bundle and may leave the shim, which no request reaches any more. Such a
one is told by all of this: its command line names our containerd, our namespace and an id of our kind; its bundle is
deleted; no other bundle names its socket, as it does where a pod's first container has gone and others have not; and it
has no children, as what runs in a container is a child of its shim.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cri.linux.process import (
    command_line,
    open_pidfd,
    parent,
    processes,
    send_signal,
    start_time_ns,
    state,
    unix_sockets,
)
from cri.sandbox.janitor.values import Kind, Thing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "containerd-shim"
DELETED = " (deleted)"
_ID = re.compile(r"[0-9a-f]{64}")


def forgotten_shims(address: str, namespace: str) -> Iterator[Thing]:
    """Those of the containerd at `address`; alive if something runs below them. Blocking."""
    found = {
        pid: owner
        for pid, command in processes()
        if (owner := _container_of(command, address, namespace)) and _is_forgotten(pid)
    }
    parents = _parents() if found else frozenset[int]()
    for pid, owner in found.items():
        yield Thing(Kind.SHIM, str(pid), owner, start_time_ns(pid) or 0, alive=pid in parents)


def end_shim(pid: int, owner: str) -> None:
    """Kill it, unless the number is another process's by now."""
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return
    try:
        if owner in command_line(pid):
            send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def _container_of(command: Sequence[str], address: str, namespace: str) -> str:
    """The id that a shim of ours was started for, empty for other programs."""
    if not os.path.basename(command[0]).startswith(PROGRAM):
        return ""
    flags = dict(pairwise(command))
    theirs, identifier = flags.get("-address", ""), flags.get("-id", "")
    same = os.path.realpath(theirs) == os.path.realpath(address) and flags.get("-namespace") == namespace
    return identifier if same and _ID.fullmatch(identifier) else ""


def _is_forgotten(pid: int) -> bool:
    try:
        bundle = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    if not bundle.endswith(DELETED):
        return False
    sockets = unix_sockets(pid)
    return not any(address in sockets for address in _shim_addresses(Path(bundle).parent))


def _shim_addresses(bundles: Path) -> Iterator[str]:
    """Sockets that containerd reaches shims by, from each bundle's own note of it (1.6 `address`, 2.0 bootstrap)."""
    for note in (*bundles.glob("*/address"), *bundles.glob("*/bootstrap.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = note.read_text()
            address = json.loads(text)["address"] if note.suffix else text.strip()
            yield str(address).removeprefix("unix://")


def _parents() -> frozenset[int]:
    """Processes with a living child."""
    found = set[int]()
    for pid, _ in processes():
        above = parent(pid)
        if above is not None and state(pid) != "Z":
            found.add(above)
    return frozenset(found)
