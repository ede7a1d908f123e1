"""Lists what this server makes, on disk, in the kernel, in containerd, in CNI's cache; and then who is known.

The order counts: every owner is known before the first thing is made for it, so a thing that was listed and whose owner
is not known a moment later has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING

from api.containerd import errors as containerd_errors
from cri.concurrency.together import all_of, together
from cri.container.image_view import PURPOSE, PURPOSE_LABEL, SERVER, SERVER_LABEL
from cri.errors import CriError
from cri.sandbox.janitor.shims import forgotten_shims
from cri.sandbox.janitor.values import Kind, Owners, Thing
from cri.sandbox.tasks import current_tasks
from cri.state.container_status import Phase
from cri.state.paths import NETWORK_NAMESPACE_PREFIX
from cri.state.records import KIND_CONTAINER, KIND_LABEL, BadRecordError, ContainerRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from api.containerd import Client, Lease
    from api.containerd import Container as ContainerdContainer
    from cri.container.engine import Engine
    from cri.network.attachment import Attachment
    from cri.sandbox.engine import PodEngine
    from cri.state.paths import NodePaths

_ID = re.compile(r"[0-9a-f]{64}")


async def observe(pods: PodEngine) -> tuple[list[Thing], Owners]:
    """Everything there is, and everybody it may belong to. Raises ContainerdError."""
    engine = pods.engine
    on_disk = await asyncio.to_thread(things_on_disk, engine.paths)
    shims = await asyncio.to_thread(_shims, engine.client)
    attachments = await _attachments(pods)
    in_containerd, records = await _things_in_containerd(engine)
    logs = await _followed_logs(engine)
    leases = await engine.client.leases.list()
    leased = await _leased_snapshots(engine.client, leases)
    owners = Owners(
        sandboxes=engine.node.sandbox_names.holders,
        containers=engine.node.container_names.holders,
        records=frozenset(record.id for record in records),
        servers=frozenset({SERVER}),
        leased_snapshots=leased,
        quarantined=dict(engine.node.quarantined),
    )
    return [*on_disk, *shims, *attachments, *in_containerd, *_leases(leases), *logs], owners


def things_on_disk(paths: NodePaths) -> list[Thing]:
    """Files, FIFOs, mounts and pins below this server's directories. Blocking."""
    return [
        *_network_namespaces(paths),
        *_directories(Kind.SANDBOX_FILES, paths.root / "sandboxes", paths.state / "sandboxes"),
        *_directories(Kind.CONTAINER_FILES, paths.root / "containers", paths.state / "containers"),
        *_directories(Kind.LAYERS, paths.state / "layers"),
    ]


def _shims(client: Client) -> list[Thing]:
    return list(forgotten_shims(client.address, client.namespace))


def ours(paths: NodePaths, attachment: Attachment) -> bool:
    """Whether an attachment is of a pod of this server: others use the same cache directory."""
    if not _ID.fullmatch(attachment.container_id):
        return False
    return attachment.network_namespace == str(paths.network_namespace(attachment.container_id))


def _network_namespaces(paths: NodePaths) -> Iterator[Thing]:
    directory = paths.network_namespace("0" * 64).parent
    for entry in _entries(directory):
        owner = entry.name.removeprefix(NETWORK_NAMESPACE_PREFIX)
        if owner != entry.name and re.fullmatch(r"[0-9a-f]{32}", owner):
            yield Thing(Kind.NETWORK_NAMESPACE, entry.path, owner, _changed(entry))


def _directories(kind: Kind, *parents: Path) -> Iterator[Thing]:
    for parent in parents:
        for entry in _entries(parent):
            if _ID.fullmatch(entry.name):
                yield Thing(kind, entry.path, entry.name, _changed(entry))


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _changed(entry: os.DirEntry[str]) -> int:
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_mtime_ns
    return 0


async def _attachments(pods: PodEngine) -> list[Thing]:
    paths = pods.engine.paths
    found = await all_of([network.attachments() for network in pods.networks])
    cached = {
        (each.network, each.interface, each.container_id): each
        for attachments in found
        for each in attachments
    }
    things = [
        Thing(Kind.ATTACHMENT, f"{network}/{interface} of {owner}", owner)
        for (network, interface, owner), each in cached.items()
        if ours(paths, each)
    ]
    owners = {owner for _, _, owner in cached}
    reserved = await all_of([network.reservations() for network in pods.networks])
    return things + [
        Thing(Kind.RESERVATION, each.file, each.container_id, each.since)
        for each in {each for found in reserved for each in found}
        if each.container_id not in owners  # else the attachment tells of it
    ]


async def _things_in_containerd(engine: Engine) -> tuple[list[Thing], list[ContainerdContainer]]:
    """Snapshots and tasks first, then the records that they belong to."""
    snapshotters = {handler.snapshotter for handler in engine.handlers}
    snapshots, tasks = await together(
        all_of([_snapshots(engine.client, each) for each in sorted(snapshotters)]),
        current_tasks(engine.client),
    )
    records = await engine.client.containers.list()
    things = [thing for listed in snapshots for thing in listed]
    things += [
        Thing(Kind.TASK, identifier, identifier, alive=True)
        for identifier in tasks
        if _ID.fullmatch(identifier)
    ]
    return [*things, *_containers(engine, records)], records


async def _snapshots(client: Client, snapshotter: str) -> list[Thing]:
    """Writable snapshots whose key is an id of ours; others are other clients'."""
    try:
        listed = await client.snapshots(snapshotter).list("kind==active")
    except containerd_errors.ContainerdError:
        return []  # not loaded in this containerd
    return [
        Thing(Kind.SNAPSHOT, f"{snapshotter}/{info.name}", info.name, info.created_at)
        for info in listed
        if _ID.fullmatch(info.name)
    ]


def _containers(engine: Engine, records: Iterable[ContainerdContainer]) -> Iterator[Thing]:
    for record in records:
        if record.labels.get(KIND_LABEL) != KIND_CONTAINER or record.id not in engine.node.containers:
            continue
        with contextlib.suppress(BadRecordError):
            sandbox_id = ContainerRecord.from_containerd(record).sandbox_id
            status = engine.node.containers.get(record.id).status
            runs = status.phase in (Phase.RUNNING, Phase.STARTING)
            yield Thing(Kind.CONTAINER, record.id, sandbox_id, record.created_at, alive=runs)


async def _followed_logs(engine: Engine) -> list[Thing]:
    try:
        followed = await engine.keeper.statistics()
    except CriError:
        return []  # no keeper, no followed logs
    return [Thing(Kind.FOLLOWED_LOG, container_id, container_id) for container_id in followed]


def _leases(leases: Iterable[Lease]) -> Iterator[Thing]:
    """Those of views; the leases of pulls are the image store's."""
    for lease in leases:
        if lease.labels.get(PURPOSE_LABEL) == PURPOSE:
            yield Thing(Kind.LEASE, lease.id, lease.labels.get(SERVER_LABEL, ""), lease.created_at)


async def _leased_snapshots(client: Client, leases: Iterable[Lease]) -> frozenset[str]:
    held: set[str] = set()
    for lease in leases:
        with contextlib.suppress(containerd_errors.NotFound):
            for resource in await client.leases.resources(lease.id):
                kind, _, snapshotter = resource.type.partition("/")
                if kind == "snapshots":
                    held.add(f"{snapshotter}/{resource.id}")
    return frozenset(held)
