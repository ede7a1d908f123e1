"""CheckpointContainer: the state of a running container in one archive, for a look at it elsewhere; it runs on.

    pause ──> criu writes the processes ∥ changed files ──> resume ──> archive

The archive's names are those that `checkpointctl` and other servers read: config.dump, spec.dump, status.dump, the
images of criu below checkpoint/, rootfs-diff.tar, container.log and dump.log. Whatever fails, the container is thawed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import secrets
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from api.containerd import errors as containerd_errors
from api.containerd import typed
from api.wire.containerd import runc_pb2
from cri.concurrency.supervision import shielded
from cri.concurrency.threads import finished_in_thread
from cri.container.inspection import runtime_spec
from cri.container.status import status_message
from cri.errors import Aborted, DeadlineExceeded, FailedPrecondition, InvalidArgument
from cri.observe.stages import stage
from cri.state.deletion import ensure_deleted
from cri.state.go_json import to_go_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)

CRIU = "criu"
LAYER = "application/vnd.oci.image.layer.v1.tar"
RESUME_SECONDS = 30.0
LEASE_SECONDS = 3600.0
"""How long the diff of a server that died in the middle keeps its place in the content store."""


async def checkpoint_container(
    engine: Engine, container: Container, location: str, timeout_seconds: int
) -> None:
    """Write the archive to `location`; `timeout_seconds` 0 means no limit but the caller's.

    Raises InvalidArgument for a location that cannot be written, FailedPrecondition where criu is missing or cannot do
    it, or the container does not run, Aborted beside another checkpoint of it, DeadlineExceeded.
    """
    target = await finished_in_thread(_checked, location, timeout_seconds)
    container.require_running("only running containers can be checkpointed")
    if container.id in engine.checkpoints:
        raise Aborted(f"{container} is being checkpointed already; wait for that one to end")
    engine.checkpoints.add(container.id)
    directory = engine.paths.container_files(container.id) / "checkpoint"
    try:
        async with _limit(timeout_seconds, container):
            await finished_in_thread(_fresh, directory)
            with stage("freeze"):
                async with _paused(engine, container):
                    await _dump(engine, container, directory)
                    await _changed_files(engine, container, directory / "rootfs-diff.tar")
            await _describe(engine, container, directory)
            with stage("archive"):
                await finished_in_thread(_archive, directory, target)
    finally:
        engine.checkpoints.discard(container.id)
        await finished_in_thread(_remove, directory)
    log.info("container checkpointed", container=container.id, location=location)


def _checked(location: str, timeout_seconds: int) -> Path:
    target = Path(location)
    if not target.is_absolute() or "\0" in location or not target.name:
        raise InvalidArgument(f"location {location!r} must be the absolute path of a file")
    if not target.parent.is_dir() or target.is_dir():
        raise InvalidArgument(f"location {location!r} must be a file in a directory that is there")
    if timeout_seconds < 0:
        raise InvalidArgument(f"timeout is {timeout_seconds} s; 0 means no limit, less means nothing")
    if shutil.which(CRIU) is None:
        raise FailedPrecondition("checkpoints need criu, which is not on this node: apt-get install criu")
    return target


@contextlib.asynccontextmanager
async def _limit(seconds: int, container: Container) -> AsyncIterator[None]:
    limit = asyncio.timeout(seconds or None)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded(f"{container} could not be checkpointed within {seconds} s") from None


@contextlib.asynccontextmanager
async def _paused(engine: Engine, container: Container) -> AsyncIterator[None]:
    """All processes frozen within the block, and running after it, however it ends."""
    try:
        await engine.client.tasks.pause(container.id)
        yield
    finally:
        await shielded(_resume(engine, container), f"resume {container.id[:13]}", RESUME_SECONDS)


async def _resume(engine: Engine, container: Container) -> None:
    try:
        await engine.client.tasks.resume(container.id)
    except containerd_errors.ContainerdError as error:  # it has ended, or was not paused in the first place
        log.debug("container was not resumed", container=container.id, error=str(error))


async def _dump(engine: Engine, container: Container, directory: Path) -> None:
    """Have the runtime call criu. Open connections, locks and sockets are no reason not to look at a container."""
    options = runc_pb2.CheckpointOptions(
        image_path=str(directory / "checkpoint"),
        work_path=str(directory),
        open_tcp=True,
        external_unix_sockets=True,
        file_locks=True,
        terminal=container.config.tty,
    )
    try:
        await engine.client.tasks.checkpoint(container.id, options=typed(options))
    except (containerd_errors.Unknown, containerd_errors.NotFound) as error:
        said = await finished_in_thread(_last_error, directory / "dump.log")
        raise FailedPrecondition(
            f"{container} cannot be checkpointed, it runs on: {error.details}{said}"
        ) from error


async def _changed_files(engine: Engine, container: Container, target: Path) -> None:
    """What the container has written over its image, as a layer."""
    key = f"cri-shim-checkpoint-{secrets.token_hex(8)}"
    async with engine.client.leases.hold(expires_in=LEASE_SECONDS) as leased:
        snapshots = leased.snapshots(container.snapshotter)
        upper = await snapshots.mounts(container.id)
        lower = await snapshots.view(key, (await snapshots.stat(container.id)).parent)
        try:
            layer = await leased.diff.compare(lower, upper, media_type=LAYER)
            with target.open("wb") as file:
                async for block in leased.content.read(layer.digest):
                    file.write(block)
        finally:
            await ensure_deleted(snapshots.remove(key))


async def _describe(engine: Engine, container: Container, directory: Path) -> None:
    """The files that say what was checkpointed."""
    status = status_message(container, engine.images.find(container.record.image_id))
    created = dt.datetime.fromtimestamp(container.status.created_at / 1e9, dt.UTC)
    config = {
        "id": container.id,
        "name": container.record.name,
        "rootfsImage": status.image.image,
        "rootfsImageRef": status.image_ref,
        "rootfsImageName": status.image.image,
        "runtime": "io.containerd.runc.v2",
        "createdTime": created.isoformat(),
        "checkpointedTime": dt.datetime.now(dt.UTC).isoformat(),
    }
    documents = {
        "config.dump": config,
        "spec.dump": await runtime_spec(engine, container.id),
        "status.dump": to_go_json(status),
    }
    await finished_in_thread(_write, directory, documents, container.record.log_path)


def _write(directory: Path, documents: Mapping[str, object], log_path: str) -> None:
    for name, document in documents.items():
        (directory / name).write_text(json.dumps(document))
    if log_path:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(log_path, directory / "container.log", follow_symlinks=False)


def _archive(directory: Path, target: Path) -> None:
    """Write the archive beside its place first: nobody sees a part of it."""
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            for path in sorted(directory.iterdir()):
                archive.add(path, arcname=path.name)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _fresh(directory: Path) -> None:
    _remove(directory)
    (directory / "checkpoint").mkdir(parents=True, mode=0o700)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()  # empty unless the container has volumes


def _last_error(log_file: Path) -> str:
    """The last error in criu's log, which says more than its exit status."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line for line in lines if "Error" in line]
    return f"; criu says: {errors[-1]}" if errors else ""
