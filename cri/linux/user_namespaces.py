"""User namespaces without a process of the pod: made by a small program that ends, held by a bind mount.

A thread cannot make a user namespace (unshare(2) refuses a process of several threads), so util-linux' unshare does,
and `cat` stands in it until its ids are mapped and the pins are made. Other namespaces made together with it belong to
it: only so can the pod's root set addresses and mount sysfs and mqueue.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cri.linux.namespaces import (
    NOTHING_SET,
    Interior,
    NamespaceSet,
    check_interior,
    furnish,
    inside,
    pin,
    unpin,
    unpin_namespaces,
)
from cri.linux.threads import in_own_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class IdRange:
    """`size` ids from 0 on inside of the namespace are as many outside of it, from these on."""

    host_uid: int
    host_gid: int
    size: int


async def pin_user_namespace(
    ids: IdRange, user: Path, namespaces: NamespaceSet, interior: Interior = NOTHING_SET
) -> None:
    """Make a user namespace with these ids, and the set of others that belong to it, and pin them all.

    The paths are new files in existing directories. On any error all are free again. Raises FileExistsError when a path
    is taken, OSError when the kernel or unshare refuses, and like `pin_namespaces`.
    """
    check_interior(namespaces, interior)
    if interior.sysfs is not None:
        raise ValueError("a sysfs would be the pod's to mount, not the host's")

    def work() -> None:
        with _process_inside(namespaces) as pid, contextlib.ExitStack() as undo:
            Path(f"/proc/{pid}/uid_map").write_text(f"0 {ids.host_uid} {ids.size}", encoding="ascii")
            Path(f"/proc/{pid}/gid_map").write_text(f"0 {ids.host_gid} {ids.size}", encoding="ascii")
            for name, path in (("user", user), *((name, path) for name, _, path in namespaces.pins)):
                pin(f"/proc/{pid}/ns/{name}", path)
                undo.callback(unpin, path)
            undo.pop_all()

    await in_own_thread("user-namespace-pin", work)
    try:
        await inside(namespaces, lambda: furnish(namespaces, interior))
    except BaseException:
        await in_own_thread("user-namespace-unpin", lambda: unpin(user))
        await unpin_namespaces(namespaces)
        raise


@contextlib.contextmanager
def _process_inside(namespaces: NamespaceSet) -> Iterator[int]:
    """The pid of a process in new namespaces, which ends with the block."""
    command = ["unshare", "--user", *(f"--{name}" for name, _, _ in namespaces.pins), "cat"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )
    try:
        with process:
            _await_echo(process)
            yield process.pid
            process.kill()
    except BaseException:
        process.kill()
        raise


def _await_echo(process: subprocess.Popen[bytes]) -> None:
    """Wait until the program answers: then it is `cat`, and unshare has done its work."""
    assert process.stdin is not None  # noqa: S101 - all three are asked for above
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    process.stdin.write(b"\n")
    process.stdin.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        answered = bool(selector.select(_START_SECONDS)) and os.read(process.stdout.fileno(), 1) == b"\n"
    if not answered:
        process.kill()
        said = process.stderr.read().decode(errors="replace").strip()
        raise OSError(f"no user namespace could be made: {said or 'unshare did not answer'}")
