"""Rebuilds the index after a start of the server: looks at the node, lets `cri.state.recovery` decide, fills the index.

What is left to be done about what was found is begun by `cri.sandbox.settlement` and goes on beside the RPCs.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from api.containerd import errors as containerd_errors
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import all_of, together
from cri.container.exec_fifos import abandoned_execs
from cri.container.fifos import streams_of
from cri.container.id_mapping import release_layers
from cri.container.start_marks import marked_starts
from cri.errors import CriError
from cri.linux.boot import boot_id
from cri.linux.cgroups import OomCounter
from cri.linux.namespaces import is_namespace
from cri.oci.cgroups import cgroup_of_path
from cri.oci.spec import from_json, to_json
from cri.oci.user import container_user
from cri.sandbox.settlement import Settlement
from cri.sandbox.take_over import take_over
from cri.sandbox.tasks import current_tasks
from cri.state.changes import ChangeKind
from cri.state.container import Container
from cri.state.container_status import Phase
from cri.state.records import KIND_CONTAINER, KIND_LABEL, KIND_SANDBOX
from cri.state.recovery import Observed, RecoveredContainer, RecoveredSandbox, Recovery, recover
from cri.state.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from api.containerd import Container as ContainerdContainer
    from cri.container.engine import Engine
    from cri.logs.client import Followed
    from cri.sandbox.engine import PodEngine

F = TypeVar("F", RecoveredSandbox, RecoveredContainer)
T = TypeVar("T")
log = structlog.get_logger(__name__)


async def rebuild(pods: PodEngine) -> Recovery:
    """Fill the index from containerd and start the work that recovery asks for. Raises ContainerdError."""
    engine = pods.engine
    await finished_in_thread(release_layers, engine.paths)
    await take_over(engine)
    observed, execs = await together(_observe(engine), asyncio.to_thread(abandoned_execs, engine.paths))
    outcome = await asyncio.to_thread(recover, observed)
    settlement = Settlement(pods)
    for sandbox, found in _restored(outcome, engine, outcome.sandboxes, _restore_sandbox):
        settlement.begin_sandbox(sandbox, found)
    for container, each in _restored(outcome, engine, outcome.containers, _restore_container):
        settlement.begin_container(container, each, execs.get(container.id, ()))
    _report_quarantine(engine, outcome)
    await _resume_logs(engine)
    log.info("state recovered", sandboxes=len(outcome.sandboxes), containers=len(outcome.containers))
    return outcome


async def survey(pods: PodEngine) -> Recovery:
    """Fill the index and change nothing: for looking at a node whose server does not run. Raises ContainerdError."""
    engine = pods.engine
    outcome = await asyncio.to_thread(recover, await _observe(engine))
    _restored(outcome, engine, outcome.sandboxes, _restore_sandbox)
    _restored(outcome, engine, outcome.containers, _restore_container)
    _report_quarantine(engine, outcome)
    return outcome


def to_follow(pods: PodEngine) -> list[Followed]:
    """The output of every running container, for a log keeper that was started again."""
    return [
        streams_of(pods.engine, container) for container in pods.engine.node.containers if container.running
    ]


async def _resume_logs(engine: Engine) -> None:
    """A log keeper that cannot be reached now is told what to follow by whoever reaches it first."""
    try:
        await engine.keeper.resume()
        if engine.keeper.outdated:
            await engine.keeper.replace()
    except CriError as error:
        log.error("the log keeper does not answer", error=error.message)


def _restored(
    outcome: Recovery, engine: Engine, found: Iterable[F], restore: Callable[[Engine, F], T]
) -> list[tuple[T, F]]:
    """Put objects into the index; what restoring one record raises concerns that record only."""
    restored = []
    for each in found:
        try:
            restored.append((restore(engine, each), each))
        except Exception as error:  # noqa: BLE001 - reported with all other quarantined records
            outcome.quarantined[each.record.id] = f"{type(error).__name__}: {error}"
    return restored


def _report_quarantine(engine: Engine, outcome: Recovery) -> None:
    engine.node.quarantined.clear()
    engine.node.quarantined.update(outcome.quarantined)
    for identifier, reason in outcome.quarantined.items():
        log.error("record in containerd is unusable and left alone", container=identifier, reason=reason)


async def _observe(engine: Engine) -> Observed:
    kinds = [f'labels."{KIND_LABEL}"=={kind}' for kind in (KIND_SANDBOX, KIND_CONTAINER)]
    records, tasks = await together(engine.client.containers.list(*kinds), current_tasks(engine.client))
    return Observed(
        records=records,
        tasks=tasks,
        namespace_pinned=lambda path: is_namespace(Path(path)),
        now=time.time_ns(),
        boot_id=boot_id(),
        has_snapshot=await _snapshots(engine, {record.snapshotter for record in records}),
        start_asked=await asyncio.to_thread(marked_starts, engine.paths),
        oom_killed=_oom_killed,
    )


async def _snapshots(engine: Engine, snapshotters: Iterable[str]) -> Callable[[str, str], bool]:
    """A question for whether a snapshot is there; of a snapshotter that does not answer all are taken to be."""

    async def keys(snapshotter: str) -> tuple[str, frozenset[str] | None]:
        try:
            listed = await engine.client.snapshots(snapshotter).list("kind==active")
        except containerd_errors.ContainerdError as error:
            log.warning("snapshots could not be listed", snapshotter=snapshotter, error=str(error))
            return snapshotter, None
        return snapshotter, frozenset(info.name for info in listed)

    found = dict(await all_of([keys(snapshotter) for snapshotter in snapshotters if snapshotter]))

    def has(snapshotter: str, key: str) -> bool:
        present = found.get(snapshotter)
        return present is None or key in present

    return has


def _oom_killed(record: ContainerdContainer) -> bool:
    """The kernel's counter in the container's cgroup, which stays until the task is deleted."""
    try:
        spec = from_json(record.spec.value) if record.spec else {}
    except ValueError:
        return False
    counter = OomCounter.at(cgroup_of_path(spec.get("linux", {}).get("cgroupsPath", "")))
    return bool(counter and counter.kills())


def _restore_sandbox(engine: Engine, found: RecoveredSandbox) -> Sandbox:
    sandbox = Sandbox(
        found.record,
        ready=found.ready,
        pid=found.pid,
        snapshotter=found.containerd.snapshotter,
        claimed=False,
        half_made=found.half_made,
    )
    if not found.held:
        sandbox.ended.set()
    engine.node.add_sandbox(sandbox)
    if not found.ready:
        log.info(
            "sandbox is not ready",
            sandbox=sandbox.id,
            process=found.pid or "none",
            namespaces="gone" if found.namespace_gone else "pinned",
            half_made=found.half_made,
        )
    return sandbox


def _restore_container(engine: Engine, found: RecoveredContainer) -> Container:
    spec = from_json(found.containerd.spec.value) if found.containerd.spec else {}
    process = spec.get("process", {})
    container = Container(
        found.record,
        found.status,
        found.containerd.snapshotter,
        process=to_json(process),
        user=container_user(process.get("user", {})),
        resources=found.resources,
        claimed=False,
        half_made=found.half_made,
    )
    if container.running and found.status.pid:
        container.oom = OomCounter.of(container.status.pid)
    elif found.status.phase is Phase.EXITED:
        container.exited.set()
    if container.status.phase is Phase.CREATED and not found.unanswered:
        container.task_deleted.set()
    engine.node.add_container(container)
    if found.changed:
        log.info(
            "what became of the container is learnt now",
            container=container.id,
            phase=found.status.phase.value,
            exit_code=found.status.exit_code,
            reason=found.status.reason,
        )
    if found.changed and found.status.phase is Phase.EXITED:  # nobody was there to tell it when it happened
        engine.node.changes.container(ChangeKind.STOPPED, container)
    return container
