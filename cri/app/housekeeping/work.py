"""The work behind the commands, on an assembled node: the answers are plain values, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict

from api.containerd import errors as containerd_errors
from cri.app.housekeeping.disk import ContainerFacts, ImageFacts, SnapshotFacts, disk_report
from cri.concurrency.together import all_of
from cri.sandbox.inspection import lasting_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from api.containerd.snapshots import Snapshots
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.janitor.rounds import Janitor
    from cri.sandbox.janitor.values import Leftover

USAGES_AT_ONCE = 8


class LeftoverValue(TypedDict):
    """A leftover, for JSON."""

    kind: str
    name: str
    owner: str
    reason: str
    remedy: str
    age_seconds: float | None
    size: int | None
    outcome: str
    """"" before anything was done, "removed", or why it could not be."""


class ProblemValue(TypedDict):
    """A contradiction, for JSON."""

    object: str
    id: str
    name: str
    text: str


class CheckValue(TypedDict):
    """The answer of `check`."""

    problems: list[ProblemValue]
    leftovers: list[LeftoverValue]


async def look(janitor: Janitor) -> list[LeftoverValue]:
    """What a `gc` would find. Raises ContainerdError, CriError."""
    return [_value(leftover, "") for leftover in await janitor.look()]


async def sweep(janitor: Janitor) -> list[LeftoverValue]:
    """Remove what may be removed. Raises ContainerdError, CriError."""
    done = await janitor.sweep()
    removed = set(done.removed)
    return [
        _value(leftover, "removed" if leftover in removed else done.failed.get(leftover, ""))
        for leftover in done.found
    ]


async def check(pods: PodEngine, janitor: Janitor) -> CheckValue:
    """Everything that is not as it should be. Raises ContainerdError, CriError."""
    found = await lasting_problems(pods)
    return CheckValue(
        problems=[
            ProblemValue(object=each.object, id=each.id, name=each.name, text=each.text) for each in found
        ],
        leftovers=await look(janitor),
    )


async def disk(pods: PodEngine) -> dict[str, object]:
    """Who holds what on disk, by snapshotter. Raises ContainerdError."""
    engine = pods.engine
    images = [
        ImageFacts(
            id=image.id,
            names=tuple(name for name in image.names if name != image.id),
            packed=image.size,
            chain_id=image.chain_id,
            pinned=image.pinned,
        )
        for image in engine.images.list()
    ]
    reports: dict[str, object] = {}
    for snapshotter in sorted({handler.snapshotter for handler in engine.handlers}):
        snapshots = await _snapshots(engine.client.snapshots(snapshotter))
        users = list(_users(pods, snapshotter))
        reports[snapshotter] = asdict(disk_report(images, {each.key: each for each in snapshots}, users))
    return reports


def _users(pods: PodEngine, snapshotter: str) -> Iterator[ContainerFacts]:
    node = pods.engine.node
    for sandbox in node.sandboxes:
        if sandbox.snapshotter == snapshotter:
            yield ContainerFacts(sandbox.id, f"pod {sandbox.record.name}")
    for container in node.containers:
        if container.snapshotter == snapshotter:
            yield ContainerFacts(container.id, container.record.name)


async def _snapshots(snapshots: Snapshots) -> list[SnapshotFacts]:
    try:
        listed = await snapshots.list()
    except containerd_errors.ContainerdError:
        return []  # not loaded in this containerd
    found: list[SnapshotFacts] = []
    for some in _in_blocks([info.name for info in listed]):
        sizes = await all_of([_size(snapshots, key) for key in some])
        found += [SnapshotFacts(key, "", size) for key, size in zip(some, sizes, strict=True)]
    parents = {info.name: info.parent for info in listed}
    return [SnapshotFacts(each.key, parents[each.key], each.size) for each in found]


def _in_blocks(keys: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(keys), USAGES_AT_ONCE):
        yield keys[start : start + USAGES_AT_ONCE]


async def _size(snapshots: Snapshots, key: str) -> int:
    try:
        return (await snapshots.usage(key)).size
    except containerd_errors.NotFound:
        return 0  # removed meanwhile


def _value(leftover: Leftover, outcome: str) -> LeftoverValue:
    return LeftoverValue(
        kind=leftover.kind.value,
        name=leftover.name,
        owner=leftover.owner,
        reason=leftover.reason,
        remedy=leftover.remedy.value,
        age_seconds=leftover.age_seconds,
        size=leftover.size,
        outcome=outcome,
    )
