"""Removes leftovers. Each remedy is idempotent; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from api.containerd import errors as containerd_errors
from cri.concurrency.threads import finished_in_thread
from cri.container.remove import remove_container
from cri.errors import CriError
from cri.linux.id_mapped_mounts import release
from cri.linux.namespaces import remove_network_namespace
from cri.sandbox.files import remove_files
from cri.sandbox.janitor.observing import ours
from cri.sandbox.janitor.shims import end_shim
from cri.sandbox.janitor.values import Kind, Leftover, Remedy
from cri.state.deletion import ensure_deleted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cri.sandbox.engine import PodEngine

log = structlog.get_logger(__name__)


async def remove_leftovers(pods: PodEngine, found: Sequence[Leftover]) -> dict[Leftover, str]:
    """Remove what may be removed; the answer is why, for those that could not be.

    Attachments go first: the plugins may want the namespace, which goes right after.
    """
    failed: dict[Leftover, str] = {}
    removable = [each for each in found if each.remedy is Remedy.REMOVE]
    attachments = [each for each in removable if each.kind is Kind.ATTACHMENT]
    if attachments:
        failed.update(await _release_attachments(pods, attachments))
    for each in removable:
        if each.kind is Kind.ATTACHMENT:
            continue
        try:
            await REMEDIES[each.kind](pods, each)
        except (CriError, containerd_errors.ContainerdError, OSError) as error:
            failed[each] = str(error)
    for each in removable:
        if each in failed:
            log.warning("leftover could not be removed", leftover=str(each), error=failed[each])
        else:
            log.info("leftover removed", leftover=str(each), age=each.age_seconds, size=each.size)
    return failed


async def _release_attachments(pods: PodEngine, found: Sequence[Leftover]) -> dict[Leftover, str]:
    engine = pods.engine
    records = frozenset(record.id for record in await engine.client.containers.list())
    reasons = []
    for network in pods.networks:
        errors = await network.collect_garbage(
            lambda: records | engine.node.sandbox_names.holders, lambda each: ours(engine.paths, each)
        )
        reasons += [error.message for error in errors]
    return {each: "; ".join(reasons) for each in found} if reasons else {}


async def _network_namespace(pods: PodEngine, leftover: Leftover) -> None:
    await remove_network_namespace(Path(leftover.name))


async def _sandbox_files(pods: PodEngine, leftover: Leftover) -> None:
    await finished_in_thread(remove_files, pods.engine.paths, leftover.owner)


async def _container_files(pods: PodEngine, leftover: Leftover) -> None:
    await finished_in_thread(_remove_tree, leftover.name)


async def _layers(pods: PodEngine, leftover: Leftover) -> None:
    await finished_in_thread(release, Path(leftover.name))


async def _snapshot(pods: PodEngine, leftover: Leftover) -> None:
    snapshotter, _, key = leftover.name.partition("/")
    await ensure_deleted(pods.engine.client.snapshots(snapshotter).remove(key))


async def _lease(pods: PodEngine, leftover: Leftover) -> None:
    await ensure_deleted(pods.engine.client.leases.delete(leftover.name, sync=True))


async def _shim(pods: PodEngine, leftover: Leftover) -> None:
    await finished_in_thread(end_shim, int(leftover.name), leftover.owner)


async def _container(pods: PodEngine, leftover: Leftover) -> None:
    container = pods.engine.node.containers.find(leftover.name)
    if container is not None:
        await remove_container(pods.engine, container)


async def _followed_log(pods: PodEngine, leftover: Leftover) -> None:
    await pods.engine.keeper.release(leftover.owner)


def _remove_tree(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


REMEDIES: Mapping[Kind, Callable[[PodEngine, Leftover], Awaitable[None]]] = {
    Kind.NETWORK_NAMESPACE: _network_namespace,
    Kind.SANDBOX_FILES: _sandbox_files,
    Kind.CONTAINER_FILES: _container_files,
    Kind.LAYERS: _layers,
    Kind.SNAPSHOT: _snapshot,
    Kind.LEASE: _lease,
    Kind.SHIM: _shim,
    Kind.CONTAINER: _container,
    Kind.FOLLOWED_LOG: _followed_log,
}
