"""What scenarios run: layers made on the spot, containers of busybox, FIFOs.

Processes are ended by SIGKILL only, because the first process of a real PID namespace ignores other signals.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import signal
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from api.containerd import (
    PROCESS_TYPE_URL,
    SPEC_TYPE_URL,
    Client,
    Container,
    ContainerdError,
    Descriptor,
    Mount,
    TypedValue,
)

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
RUNTIME = "io.containerd.runc.v2"
BUSYBOX = Path("/bin/busybox")
CGROUP_PARENT = "/containerd-agreement"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(files: Mapping[str, bytes], applets: Sequence[str] = ()) -> tuple[bytes, str]:
    """A gzipped layer with executable files and links to busybox, and its diff ID."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return gzip.compress(tar.getvalue(), compresslevel=1, mtime=0), digest_of(tar.getvalue())


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[dict[str, str], Callable[[str], bytes]]]:
    """FIFOs for stdin, stdout and stderr with our read ends open, and a function that reads one to its end."""
    with tempfile.TemporaryDirectory(prefix="agreement-") as directory:
        paths = {name: f"{directory}/{name}" for name in ("stdin", "stdout", "stderr")}
        for path in paths.values():
            os.mkfifo(path)
        readers = {name: os.open(paths[name], os.O_RDONLY | os.O_NONBLOCK) for name in ("stdout", "stderr")}

        def read(name: str) -> bytes:
            os.set_blocking(readers[name], True)
            with os.fdopen(os.dup(readers[name]), "rb") as stream:
                return stream.read()

        try:
            yield paths, read
        finally:
            for fd in readers.values():
                os.close(fd)


def oci_spec(container_id: str, args: Sequence[str]) -> TypedValue:
    """The least that runc runs."""
    return TypedValue.json(
        SPEC_TYPE_URL,
        {
            "ociVersion": "1.0.2",
            "process": oci_process(args),
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "cgroupsPath": f"{CGROUP_PARENT}/{container_id}",
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
            },
        },
    )


def oci_process(args: Sequence[str]) -> dict[str, object]:
    return {"user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/bin"], "cwd": "/"}


@asynccontextmanager
async def container(client: Client, container_id: str, args: Sequence[str]) -> AsyncIterator[list[Mount]]:
    """A container with busybox in it; gone at the end with its task and snapshot."""
    blob, _ = await asyncio.to_thread(layer, {"bin/busybox": BUSYBOX.read_bytes()}, ("sleep", "echo", "cat"))
    snapshots = client.snapshots("overlayfs")
    async with client.leases.hold() as held:
        await held.content.put(f"layer-{container_id}", blob)
        mounts = await held.snapshots("overlayfs").prepare(container_id)
        await held.diff.apply(Descriptor(LAYER_TYPE, digest_of(blob), len(blob)), mounts)
        await client.containers.create(
            Container(
                container_id,
                runtime=RUNTIME,
                spec=oci_spec(container_id, args),
                snapshotter="overlayfs",
                snapshot_key=container_id,
            )
        )
    try:
        yield mounts
    finally:
        for clean_up in (
            lambda: client.tasks.kill(container_id, signal.SIGKILL, everything=True),
            lambda: client.tasks.wait(container_id, timeout=5),
            lambda: client.tasks.delete(container_id),
            lambda: client.containers.delete(container_id),
            lambda: snapshots.remove(container_id),
        ):
            try:
                await clean_up()
            except ContainerdError:
                continue


async def exec_process(
    client: Client, container_id: str, exec_id: str, args: Sequence[str], **outputs: str
) -> None:
    process = TypedValue.json(PROCESS_TYPE_URL, oci_process(args))
    await client.tasks.exec(container_id, exec_id, process, **outputs)  # type: ignore[arg-type]
