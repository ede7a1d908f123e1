"""What a node holds at one moment, object by object, so that a test can say exactly what was left behind.

A `Holdings` maps each kind of object to the names that exist. Two of them, from before and after, differ by
what leaked. Objects that vanish a moment after the call which removed them (interfaces of a dying network
namespace, a shim on its way out) are given time; containerd's garbage collector is run first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio

from api.wire.containerd import (
    containers_pb2,
    containers_pb2_grpc,
    content_pb2,
    content_pb2_grpc,
    images_pb2,
    images_pb2_grpc,
    leases_pb2,
    leases_pb2_grpc,
    snapshots_pb2,
    snapshots_pb2_grpc,
    tasks_pb2,
    tasks_pb2_grpc,
)
from cri.app.embedded_layout import EmbeddedLayout
from cri.app.embedded_network import removal_of_rules
from cri.app.embedded_remains import mounts_below
from cri.linux.process import processes
from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from cri.app.embedded import EmbeddedContainerd

NAMESPACE = (("containerd-namespace", "k8s.io"),)
SNAPSHOTTERS = ("overlayfs", "native")
PATIENCE_SECONDS = patiently(8.0)
PAUSE_SECONDS = patiently(0.05)

Holdings = Mapping[str, frozenset[str]]


async def holdings(
    containerd: EmbeddedContainerd, directories: Iterable[Path], cgroup_parent: str
) -> Holdings:
    """Everything that pods and containers are made of, as it is now on this node.

    `directories` are those where the server keeps files; `cgroup_parent` is the one that all pods are given.
    """
    found: dict[str, Iterable[str]] = {
        "mount": mounts_below(containerd.layout.directory),
        "address reservation": _reservations(containerd.layout.reservations),
        "interface on the bridge": _names(Path("/sys/class/net", containerd.bridge, "brif")),
        "firewall rule": await _firewall_rules(f"cri-shim-{containerd.layout.fingerprint}"),
        "process": _processes(str(containerd.layout.directory)),
        "cgroup": _cgroups(cgroup_parent),
        "file": [str(path) for directory in directories for path in _files(directory)],
        "FIFO": _fifos(containerd.layout.directory),
        **await _containerd_objects(containerd.address),
    }
    return {kind: frozenset(names) for kind, names in found.items()}


def leftovers(before: Holdings, after: Holdings) -> list[str]:
    """One line for each object that is there now and was not before."""
    return [
        f"{kind}: {name}"
        for kind, names in sorted(after.items())
        for name in sorted(names - before.get(kind, frozenset()))
    ]


async def lasting_leftovers(
    before: Holdings, containerd: EmbeddedContainerd, directories: Sequence[Path], cgroup_parent: str
) -> list[str]:
    """What is still left when everything that goes by itself has had the time to go."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        found = leftovers(before, await holdings(containerd, directories, cgroup_parent))
        if not found or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(PAUSE_SECONDS)


async def traces(layout: EmbeddedLayout) -> list[str]:
    """What is on the host of an embedded containerd that has ended: there should be nothing."""
    bridge = Path("/sys/class/net", f"cri{layout.fingerprint}")
    return [
        *(f"process: {command}" for command in _processes(str(layout.directory))),
        *(f"mount: {mount}" for mount in mounts_below(layout.directory)),
        *(f"firewall rule: {rule}" for rule in await _firewall_rules(f"cri-shim-{layout.fingerprint}")),
        *(f"bridge: {bridge.name}" for _ in range(bridge.exists())),
    ]


async def collect_garbage(address: str) -> None:
    """Run containerd's garbage collector, and return when it has run.

    Deleting a lease with `sync` waits for it.
    """
    async with _channel(address) as channel:
        stub = leases_pb2_grpc.LeasesStub(channel)
        name = f"collect-garbage-{uuid.uuid4()}"
        await stub.Create(leases_pb2.CreateRequest(id=name), metadata=NAMESPACE)
        await stub.Delete(leases_pb2.DeleteRequest(id=name, sync=True), metadata=NAMESPACE)


def _channel(address: str) -> grpc.aio.Channel:
    options = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", 16 << 20)]
    return grpc.aio.insecure_channel(f"unix:{address}", options=options)


async def _containerd_objects(address: str) -> dict[str, list[str]]:
    await collect_garbage(address)
    async with _channel(address) as channel:
        containers = containers_pb2_grpc.ContainersStub(channel)
        tasks = tasks_pb2_grpc.TasksStub(channel)
        images = images_pb2_grpc.ImagesStub(channel)
        content = content_pb2_grpc.ContentStub(channel)
        leases = leases_pb2_grpc.LeasesStub(channel)
        listed_containers = await containers.List(containers_pb2.ListContainersRequest(), metadata=NAMESPACE)
        listed_tasks = await tasks.List(tasks_pb2.ListTasksRequest(), metadata=NAMESPACE)
        listed_images = await images.List(images_pb2.ListImagesRequest(), metadata=NAMESPACE)
        listed_leases = await leases.List(leases_pb2.ListRequest(), metadata=NAMESPACE)
        ingests = await content.ListStatuses(content_pb2.ListStatusesRequest(), metadata=NAMESPACE)
        blobs = content.List(content_pb2.ListContentRequest(), metadata=NAMESPACE)
        return {
            "container": [container.id for container in listed_containers.containers],
            "task": [task.id for task in listed_tasks.tasks],
            "image": [image.name for image in listed_images.images],
            "lease": [lease.id for lease in listed_leases.leases],
            "ingest": [status.ref for status in ingests.statuses],
            "content": [info.digest async for answer in blobs for info in answer.info],
            "snapshot": [name for kind in SNAPSHOTTERS for name in await _snapshots(channel, kind)],
        }


async def _snapshots(channel: grpc.aio.Channel, snapshotter: str) -> list[str]:
    stub = snapshots_pb2_grpc.SnapshotsStub(channel)
    request = snapshots_pb2.ListSnapshotsRequest(snapshotter=snapshotter)
    with contextlib.suppress(grpc.aio.AioRpcError):  # a snapshotter that is not loaded has no snapshots
        answers = stub.List(request, metadata=NAMESPACE)
        return [f"{snapshotter} {info.name}" async for answer in answers for info in answer.info]
    return []


async def _firewall_rules(network: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *("iptables-save", "-t", "nat"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    saved, _ = await process.communicate()
    return removal_of_rules(saved.decode(), network)


def _reservations(directory: Path) -> list[str]:
    """host-local keeps a file per address, named by it, beside a lock and a note of the last address."""
    return [
        str(path)
        for path in directory.glob("*/*")
        if path.name != "lock" and not path.name.startswith("last_reserved_ip")
    ]


def _processes(directory: str) -> list[str]:
    """Processes with the directory on their command line, and all of their descendants."""
    commands = {pid: " ".join(command).strip() for pid, command in processes()}
    parents = {pid: _parent(pid) for pid in commands}
    ours = {pid for pid, command in commands.items() if directory in command}

    def belongs(pid: int) -> bool:
        while pid in parents:
            if pid in ours:
                return True
            pid = parents[pid]
        return False

    counted = Counter(command for pid, command in commands.items() if belongs(pid))
    return [f"{command} (number {n + 1})" for command, count in counted.items() for n in range(count)]


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _cgroups(parent: str) -> Iterator[str]:
    base = Path("/sys/fs/cgroup")
    hierarchies = [base] if (base / "cgroup.controllers").exists() else list(base.iterdir())
    for hierarchy in hierarchies:
        # Unlike Path.rglob this puts up with groups that vanish while it looks.
        for directory, below, _ in os.walk(hierarchy / parent.strip("/")):
            yield from (os.path.join(directory, name) for name in below)


def _files(directory: Path) -> Iterator[Path]:
    """Files and directories, but no log files, and no empty directories right below: those are made once."""
    for path in directory.rglob("*"):
        made_once = path.parent == directory and path.is_dir() and not _names(path)
        if path.suffix != ".log" and not made_once:
            yield path


def _fifos(directory: Path) -> Iterator[str]:
    for path in directory.glob("*state*/**/*"):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(path.lstat().st_mode):
                yield str(path)


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except OSError:
        return []
