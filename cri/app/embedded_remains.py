"""What a containerd leaves running when it ends, and how that is taken away.

Shims and the containers below them survive their containerd by design, so ending an embedded instance means
ending them too. They are found by what belongs to this instance alone: shims by the socket address on their
command line, containers by their bundles, mounts by their place below the directory. The order matters: the
containers are deleted through the shim's own `delete` action (what containerd does for a dead shim: the OCI
runtime kills the container and drops its state and cgroups, the root file system is unmounted) while the shim
still lives to reap them; then the shims are killed; then mounts go, deepest first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from cri.errors import Unavailable
from cri.linux.process import processes

if TYPE_CHECKING:
    from cri.app.embedded_layout import EmbeddedLayout

log = structlog.get_logger(__name__)

DEFAULT_SHIM = "containerd-shim-runc-v2"
DELETIONS_AT_ONCE = 4
DELETE_SECONDS = 30.0
END_SECONDS = 10.0


async def remove_remains(layout: EmbeddedLayout) -> None:
    """End every container and shim of this instance and unmount everything below its directory.

    Call it when containerd has ended. Idempotent. Raises Unavailable naming what could not be removed.
    """
    gate = asyncio.Semaphore(DELETIONS_AT_ONCE)

    async def delete(bundle: Path) -> None:
        async with gate:
            await _delete_container(layout, bundle)

    async with asyncio.TaskGroup() as group:
        for bundle in layout.bundles.glob("*/*"):
            group.create_task(delete(bundle))
    for pid in shims(layout.address):
        await end_process(pid, signal.SIGKILL)
    await asyncio.to_thread(shutil.rmtree, layout.bundles, ignore_errors=True)
    for target in mounts_below(layout.directory):
        await _unmount(target)


async def _delete_container(layout: EmbeddedLayout, bundle: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        _shim_program(bundle),
        *("-namespace", bundle.parent.name, "-address", layout.address, "-publish-binary", "containerd"),
        *("-id", bundle.name, "-bundle", str(bundle), "delete"),
        cwd=bundle,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), DELETE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        log.warning(
            "shim did not delete its container in time", container=bundle.name, seconds=DELETE_SECONDS
        )
        return
    if process.returncode != 0:
        log.debug("shim could not delete its container", container=bundle.name, error=errors.decode().strip())
    _remove_shim_socket(bundle)


def _shim_program(bundle: Path) -> str:
    """The shim that made the bundle: containerd notes it there from 1.6 on."""
    try:
        return (bundle / "shim-binary-path").read_text().strip() or DEFAULT_SHIM
    except OSError:
        return DEFAULT_SHIM


def _remove_shim_socket(bundle: Path) -> None:
    """A killed shim leaves its socket, which is in a host-wide directory (`/run/containerd/s`)."""
    with contextlib.suppress(OSError):
        address = (bundle / "address").read_text().strip()
        if address.startswith("unix://"):
            os.unlink(address.removeprefix("unix://"))


def shims(address: str) -> list[int]:
    """The process ids of the shims that serve the containerd at `address`."""
    return [
        pid
        for pid, command in processes()
        if os.path.basename(command[0]).startswith("containerd-shim") and address in command
    ]


async def end_process(pid: int, request: signal.Signals, seconds: float = END_SECONDS) -> bool:
    """Send `request` and wait until the process has ended; False if it lives on after `seconds`.

    Works for processes that are not our children. A process that is gone already is a success.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, request)
        return await _ended(handle, seconds)
    finally:
        os.close(handle)


async def _ended(handle: int, seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True


def mounts_below(directory: Path, table: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """The mount points below `directory`, last mounted first (proc(5): the fifth field, octal escapes)."""
    points = [_unescaped(line.split()[4]) for line in table.read_text().splitlines()]
    prefix = f"{directory}/"
    return [point for point in reversed(points) if point.startswith(prefix)]


def _unescaped(field: str) -> str:
    return field.encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")


async def _unmount(target: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "umount", "--lazy", target, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    _, errors = await process.communicate()
    if process.returncode != 0 and target in mounts_below(Path(target).parent):
        raise Unavailable(f"cannot unmount {target}: {errors.decode().strip()}")
