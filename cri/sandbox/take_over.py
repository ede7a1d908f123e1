"""Takes over pods that containerd's CRI plugin ran, when the server starts on the plugin's containerd.

Processes, records, names, addresses and network namespaces stay as they are: the records are of one form. What the
plugin has in files is put where this server has it, before recovery looks at anything:

    status file of a container        into the container's record
    FIFOs of a running container      linked into the server's state directory, so that the log keeper reads on
    hostname, hosts, resolv.conf      copied
    mount of /dev/shm                 moved

The plugin's files stay for the case that it is switched on again; those of containers and sandboxes that have no record
any more are removed, as the plugin does itself when it starts. It is all idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import all_of, together
from cri.linux.mounts import bind, is_mount_point, mount_table, unmount
from cri.state.plugin_files import (
    POD_FILES,
    PluginFiles,
    containerd_root,
    is_loaded,
    later,
    parse_status,
    shared_memory,
)
from cri.state.records import (
    KIND_CONTAINER,
    KIND_LABEL,
    KIND_SANDBOX,
    STATUS_EXTENSION,
    BadRecordError,
    StatusRecord,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from api.containerd import Client, Process
    from cri.container.engine import Engine
    from cri.state.paths import NodePaths

log = structlog.get_logger(__name__)

NAMESPACE = "k8s.io"
"""The plugin's namespace; in another one there is nothing of it."""
_ID = re.compile(r"[0-9a-f]{64}")


async def take_over(engine: Engine) -> None:
    """Make the plugin's pods ours. Raises ContainerdError; what cannot be read of one container is logged."""
    files = await plugin_files(engine.client)
    if files is None:
        return
    containers, sandboxes = await asyncio.to_thread(lambda: (_ids(files.containers), _ids(files.sandboxes)))
    if not containers and not sandboxes:
        return
    records, tasks = await together(engine.client.containers.list(), engine.client.tasks.list())
    of_kind = {
        kind: [record for record in records if record.labels.get(KIND_LABEL) == kind]
        for kind in (KIND_CONTAINER, KIND_SANDBOX)
    }
    theirs = [record for record in of_kind[KIND_CONTAINER] if record.id in containers]
    processes = {task.container_id: task for task in tasks}
    await all_of([_adopt_status(engine.client, files, record) for record in theirs])
    await finished_in_thread(_link_streams, engine.paths, [processes.get(record.id) for record in theirs])
    pods = [record.id for record in of_kind[KIND_SANDBOX] if record.id in sandboxes]
    await finished_in_thread(_adopt_sandbox_files, engine.paths, files, pods)
    known = {record.id for record in records}
    await finished_in_thread(
        _remove_orphans,
        [
            *(files.containers / each for each in containers - known),
            *(files.sandboxes / each for each in sandboxes - known),
        ],
    )
    await _delete_leases(engine.client, known)
    log.info("pods of containerd's CRI plugin are here", sandboxes=len(pods), containers=len(theirs))


async def plugin_files(client: Client) -> PluginFiles | None:
    """Where the plugin that is switched off has its files; None while it is on, and they are its own."""
    if client.namespace != NAMESPACE:
        return None
    plugins = await client.introspection.plugins()
    root = containerd_root(plugins)
    return None if root is None or is_loaded(plugins) else PluginFiles(root)


def stored_status(files: PluginFiles, record: ContainerdContainer) -> StatusRecord | None:
    """A container's status, by its record or by the plugin's file, whichever is further. Blocking."""
    ours: StatusRecord | None = None
    theirs: StatusRecord | None = None
    with contextlib.suppress(BadRecordError):
        ours = StatusRecord.from_containerd(record)
    try:
        theirs = parse_status(files.status(record.id).read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, BadRecordError) as error:
        log.warning(
            "status file of containerd's CRI plugin is unreadable", container=record.id, error=str(error)
        )
    return later(ours, theirs)


async def _adopt_status(client: Client, files: PluginFiles, record: ContainerdContainer) -> None:
    stored = await asyncio.to_thread(stored_status, files, record)
    if stored is None:
        return
    extension = stored.to_extension()
    if record.extensions.get(STATUS_EXTENSION) == extension:
        return
    update = ContainerdContainer(id=record.id, extensions={STATUS_EXTENSION: extension})
    try:
        await client.containers.update(update, f"extensions.{STATUS_EXTENSION}")
    except containerd_errors.NotFound:
        log.info("a container went away while it was taken over", container=record.id)


async def _delete_leases(client: Client, known: set[str]) -> None:
    """From 2.1 the plugin has a lease for each pod, named by its id."""
    for lease in await client.leases.list():
        if _ID.fullmatch(lease.id) and lease.id not in known:
            with contextlib.suppress(containerd_errors.NotFound):
                await client.leases.delete(lease.id)


def _link_streams(paths: NodePaths, tasks: Iterable[Process | None]) -> None:
    """A FIFO may have two names: the shim knows the one, the log keeper is told the other."""
    for task in tasks:
        if task is None:
            continue
        directory = paths.container_state(task.container_id) / "io"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("stdin", "stdout", "stderr"):
            source = getattr(task, name)
            if source and not (directory / name).exists():
                _link(Path(source), directory / name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        hint = (
            "; state must be on the file system of containerd's state directory"
            if error.errno == errno.EXDEV
            else ""
        )
        log.error(
            "a container's output cannot be taken over", fifo=str(source), error=f"{error.strerror}{hint}"
        )


def _adopt_sandbox_files(paths: NodePaths, files: PluginFiles, sandboxes: Sequence[str]) -> None:
    mounted = shared_memory(entry.mount_point for entry in mount_table())
    for sandbox_id in sandboxes:
        try:
            copy_pod_files(files.sandboxes / sandbox_id, paths.sandbox_files(sandbox_id))
            if sandbox_id in mounted:
                bind_shared_memory(mounted[sandbox_id], paths.shared_memory(sandbox_id))
                unmount(mounted[sandbox_id])
        except OSError as error:
            log.error("files of a pod could not be taken over", sandbox=sandbox_id, error=str(error))


def copy_pod_files(source: Path, target: Path) -> None:
    """Copy a pod's files, those that are not there yet."""
    target.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name in POD_FILES:
        if (source / name).exists() and not (target / name).exists():
            shutil.copyfile(source / name, target / name)


def bind_shared_memory(source: Path, target: Path) -> None:
    """Give a pod's /dev/shm a second mount point."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_mount_point(target):
        bind(source, target)


def _ids(directory: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir(directory) if _ID.fullmatch(name)}
    return set()


def _remove_orphans(directories: Iterable[Path]) -> None:
    for directory in directories:
        log.info("removing what is left of an object without record", directory=str(directory))
        shutil.rmtree(directory, ignore_errors=True)
