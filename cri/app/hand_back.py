"""`cri-shim hand-back`: leaves every pod to containerd's own CRI plugin, which takes it over at its next start.

The reverse of `cri.sandbox.take_over`, with the server stopped: pods without a pause container get one, since the
plugin calls no other pod ready; statuses become the plugin's files, pods' files and
/dev/shm move to where it has them, and the log keeper ends, so that two readers do not share a container's output. From
then until containerd has restarted with its plugin, output waits in the pipes (64 KiB and more a stream).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from api.containerd import Client
from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from cri.app.config.assembly import node_paths
from cri.app.config.load import load
from cri.app.housekeeping.offline import on_node
from cri.app.log_keeper_cgroup import vacated
from cri.app.node import LOG_KEEPER_COMMAND
from cri.app.socket import remove_stale_socket, socket_path
from cri.errors import CriError, FailedPrecondition
from cri.linux.boot import boot_id
from cri.linux.mounts import mount_table, unmount
from cri.linux.namespaces import is_namespace
from cri.logs.client import LogKeeper
from cri.sandbox.holders.replacement import give_process
from cri.sandbox.take_over import bind_shared_memory, copy_pod_files, plugin_files, stored_status
from cri.state.plugin_files import DIRECTORY, containerd_state, render_status
from cri.state.records import (
    KIND_CONTAINER,
    KIND_LABEL,
    KIND_SANDBOX,
    STATUS_EXTENSION,
    StatusRecord,
)
from cri.state.recovery import Observed, Recovery, recover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.app.config.configuration import Configuration
    from cri.logs.client import Followed
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.janitor.rounds import Janitor
    from cri.state.paths import NodePaths
    from cri.state.plugin_files import PluginFiles

log = structlog.get_logger(__name__)

DEFAULT_STATE = Path("/run/containerd")


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
@click.option(
    "--containerd-state",
    "state",
    type=click.Path(path_type=Path, file_okay=False),
    help="containerd's state directory, if it is not where its tasks are mounted or /run/containerd.",
)
def command(path: Path | None, state: Path | None) -> None:
    """Leave all pods to containerd's own CRI plugin, which is to be switched on next.

    The server must be stopped. Pods run on; restart containerd with its plugin soon, since output waits until then.
    """
    sandboxes, containers = asyncio.run(_hand_back(load(path), state))
    click.echo(f"{sandboxes} pods with {containers} containers are ready for containerd's CRI plugin.")
    click.echo("Take disabled_plugins out of /etc/containerd/config.toml and restart containerd now.")


async def _hand_back(configuration: Configuration, state: Path | None) -> tuple[int, int]:
    await asyncio.to_thread(remove_stale_socket, socket_path(configuration.grpc.address))
    section = configuration.containerd
    paths = node_paths(configuration)
    async with Client(section.address, section.namespace) as client:
        try:
            files = await plugin_files(client)
            if files is None:
                raise FailedPrecondition(
                    f"containerd at {section.address} serves CRI itself already, or is not used in namespace k8s.io"
                )
            await on_node(configuration, _give_processes)
            records = await _with_merged_status(client, files)
            outcome = await _recovered(client, records)
            await _write_statuses(files, outcome)
        except containerd_errors.ContainerdError as error:
            raise FailedPrecondition(f"{error}; containerd must run, with its CRI plugin off") from error
    points = [entry.mount_point for entry in mount_table()]
    state = (
        state
        or containerd_state(points, section.namespace, [record.id for record in records])
        or DEFAULT_STATE
    )
    for sandbox in outcome.sandboxes:
        _move_sandbox_files(paths, files, state, sandbox.record.id)
    await _end_log_keeper(paths)
    if configuration.log_keeper_cgroup:
        await vacated(configuration.log_keeper_cgroup)
    for identifier, reason in outcome.quarantined.items():
        log.warning("record is unreadable and stays as it is", container=identifier, reason=reason)
    return len(outcome.sandboxes), len(outcome.containers)


async def _give_processes(pods: PodEngine, _janitor: Janitor) -> None:
    """A pod that cannot have one is left as it is: the kubelet will find it not ready and make it anew."""
    await pods.engine.images.load()
    for sandbox in pods.engine.node.sandboxes:
        if sandbox.record.pins is None or not sandbox.ready:
            continue
        try:
            await give_process(pods, sandbox)
        except (CriError, containerd_errors.ContainerdError) as error:
            log.error("a pod cannot be given a pause container", sandbox=sandbox.id, error=str(error))


async def _with_merged_status(client: Client, files: PluginFiles) -> list[ContainerdContainer]:
    """All records, each with the later of the two statuses it may have: this command may have been cut off before."""
    records = await client.containers.list(
        *(f'labels."{KIND_LABEL}"=={kind}' for kind in (KIND_SANDBOX, KIND_CONTAINER))
    )
    return await asyncio.to_thread(lambda: [_merged(files, record) for record in records])


def _merged(files: PluginFiles, record: ContainerdContainer) -> ContainerdContainer:
    is_container = record.labels.get(KIND_LABEL) == KIND_CONTAINER
    stored = stored_status(files, record) if is_container else None
    if stored is None:
        return record
    return replace(record, extensions={**record.extensions, STATUS_EXTENSION: stored.to_extension()})


async def _recovered(client: Client, records: Sequence[ContainerdContainer]) -> Recovery:
    """Statuses as they are now: a container may have ended since the server was stopped."""
    tasks = await client.tasks.list()
    observed = Observed(
        records=records,
        tasks={task.container_id: task for task in tasks},
        namespace_pinned=lambda path: is_namespace(Path(path)),
        now=time.time_ns(),
        boot_id=boot_id(),
    )
    return await asyncio.to_thread(recover, observed)


async def _write_statuses(files: PluginFiles, outcome: Recovery) -> None:
    """Ours stay in the records, because containerd removes no extension; who takes the pods again compares the two."""
    for found in outcome.containers:
        stored = StatusRecord(found.status, found.resources)
        await asyncio.to_thread(_write, files.status(found.record.id), render_status(stored))


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, as a crash must not leave half a status."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


def _move_sandbox_files(paths: NodePaths, files: PluginFiles, state: Path, sandbox_id: str) -> None:
    """Containers have the files mounted and do not mind where they are named."""
    ours = paths.sandbox_files(sandbox_id)
    copy_pod_files(ours, files.sandboxes / sandbox_id)
    shm = paths.shared_memory(sandbox_id)
    theirs = state / DIRECTORY / "sandboxes" / sandbox_id / "shm"
    if shm.is_mount():
        bind_shared_memory(shm, theirs)
        unmount(shm)
    shutil.rmtree(ours, ignore_errors=True)
    # A pin of a user namespace or an image volume is still in use there, and stays.
    with contextlib.suppress(OSError):
        shm.rmdir()
        paths.sandbox_state(sandbox_id).rmdir()


async def _end_log_keeper(paths: NodePaths) -> None:
    async def nothing() -> Sequence[Followed]:
        return []

    await LogKeeper(paths.log_keeper_socket, LOG_KEEPER_COMMAND, nothing).shutdown()
