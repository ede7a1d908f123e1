"""Gathers what `cri.sandbox.consistency` judges, from the index, containerd, the kernel, CNI and the log keeper."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.containerd import errors as containerd_errors
from api.wire import criv1
from cri.concurrency.together import all_of, together
from cri.errors import CriError
from cri.linux.mounts import is_mount_point
from cri.linux.namespaces import is_namespace
from cri.sandbox.consistency import ContainerFacts, Problem, SandboxFacts, problems
from cri.sandbox.tasks import current_tasks
from cri.state.container_status import Phase
from cri.state.records import BadRecordError, StatusRecord
from cri.state.recovery import ALIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd import Container as ContainerdContainer
    from api.containerd import Process
    from cri.container.engine import Engine
    from cri.sandbox.engine import PodEngine
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox

SETTLING_SECONDS = 0.5
"""Between the two looks: what both see is no passing state."""


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What everything is compared with."""

    records: Mapping[str, ContainerdContainer]
    tasks: Mapping[str, Process]
    snapshots: frozenset[tuple[str, str]]
    attached: frozenset[str]
    reserved: Mapping[str, str]
    """Owner by address, of the networks whose plugin keeps files."""
    followed: frozenset[str] | None
    """None where no log keeper answers."""


async def lasting_problems(pods: PodEngine) -> tuple[Problem, ...]:
    """The contradictions that two looks see. Raises ContainerdError."""
    first = await _problems(pods)
    if not first:
        return ()
    await asyncio.sleep(SETTLING_SECONDS)
    second = set(await _problems(pods))
    return tuple(problem for problem in first if problem in second)


async def _problems(pods: PodEngine) -> tuple[Problem, ...]:
    engine = pods.engine
    around = await _surroundings(pods)
    return await asyncio.to_thread(
        lambda: problems(
            [_sandbox(engine, sandbox, around) for sandbox in engine.node.sandboxes],
            [_container(container, around) for container in engine.node.containers],
        )
    )


async def _surroundings(pods: PodEngine) -> _Surroundings:
    engine = pods.engine
    records, tasks = await together(engine.client.containers.list(), current_tasks(engine.client))
    snapshotters = {sandbox.snapshotter for sandbox in engine.node.sandboxes}
    snapshotters |= {container.snapshotter for container in engine.node.containers}
    listed = await all_of([_keys(engine, each) for each in sorted(snapshotters) if each])
    attachments = await all_of([network.attachments() for network in pods.networks])
    reservations = await all_of([network.reservations() for network in pods.networks])
    return _Surroundings(
        records={record.id: record for record in records},
        tasks=tasks,
        snapshots=frozenset(key for keys in listed for key in keys),
        attached=frozenset(each.container_id for found in attachments for each in found),
        reserved={each.address: each.container_id for found in reservations for each in found},
        followed=await _followed(engine),
    )


async def _keys(engine: Engine, snapshotter: str) -> list[tuple[str, str]]:
    try:
        return [(snapshotter, info.name) for info in await engine.client.snapshots(snapshotter).list()]
    except containerd_errors.ContainerdError:
        return []


async def _followed(engine: Engine) -> frozenset[str] | None:
    try:
        return frozenset(await engine.keeper.statistics())
    except CriError:
        return None


def _sandbox(engine: Engine, sandbox: Sandbox, around: _Surroundings) -> SandboxFacts:
    record, paths = sandbox.record, engine.paths
    task = around.tasks.get(sandbox.id)
    own_ipc = record.config.linux.security_context.namespace_options.ipc != criv1.NODE
    files = paths.sandbox_files(sandbox.id)
    known = any(owner in engine.node.sandboxes for owner in around.reserved.values())
    return SandboxFacts(
        id=sandbox.id,
        name=record.name,
        ready=sandbox.ready,
        host_network=record.host_network,
        ip=record.ip,
        released=sandbox.network_released and not record.host_network,
        recorded=sandbox.id in around.records,
        task_runs=task is not None and task.status in ALIVE,
        by_process=record.pins is None,
        process_lives=not sandbox.pid or _lives(sandbox.pid),
        namespaces_pinned=all(is_namespace(Path(path)) for path in record.pinned),
        shared_memory=not own_ipc or is_mount_point(paths.shared_memory(sandbox.id)),
        files=all((files / name).exists() for name in ("hostname", "hosts", "resolv.conf")),
        reserved=not known or around.reserved.get(record.ip) == sandbox.id,
        attached=sandbox.id in around.attached,
        busy=sandbox.lock.locked() or sandbox.removing or sandbox.half_made,
    )


def _container(container: Container, around: _Surroundings) -> ContainerFacts:
    record = around.records.get(container.id)
    task = around.tasks.get(container.id)
    pid = container.status.pid
    return ContainerFacts(
        id=container.id,
        name=container.record.name,
        phase=container.status.phase,
        recorded=record is not None,
        stored_phase=None if record is None else _stored_phase(record),
        task_runs=task is not None and task.status in ALIVE,
        process_lives=not pid or _lives(pid),
        snapshot=(container.snapshotter, container.id) in around.snapshots,
        followed=around.followed is None or not container.running or container.id in around.followed,
        busy=container.lock.locked() or container.removing or container.half_made,
    )


def _stored_phase(record: ContainerdContainer) -> Phase | None:
    try:
        stored = StatusRecord.from_containerd(record)
    except BadRecordError:
        return Phase.UNKNOWN
    return None if stored is None else stored.status.phase


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
