"""RunPodSandbox: from a request to a pod whose namespaces are held and whose network works.

    record ∥ namespaces ∥ files ──┬─> CNI ADD ─────────────────────────────────────┬─> addresses into the record
                                  └─> by a process: snapshot ──> task ──> started ──┘

The record, with the paths of the namespaces, is written before CNI ADD begins: a crash at any instruction leaves what a
DEL needs. containerd is asked two things in sequence, Containers.Create and Containers.Update, the latter not for pods
on the host's network; and where a process is to hold the namespaces (`cri.sandbox.holders`), Snapshots.Prepare,
Tasks.Create and Tasks.Start in between.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Container as ContainerdContainer
from api.wire import criv1
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import together
from cri.concurrency.undo import UndoStack
from cri.container.selinux import relabel_all
from cri.errors import InvalidArgument, Unavailable
from cri.observe.stages import annotate, stage
from cri.oci.refusals import bad_value, check_extent, check_name, check_plain
from cri.sandbox import network
from cri.sandbox.files import prepare_files, remove_files
from cri.sandbox.holders.choice import holder_of, planned_pins
from cri.sandbox.pod_request import check_port_mappings
from cri.state.changes import ChangeKind
from cri.state.deletion import ensure_deleted
from cri.state.records import SANDBOX_EXTENSION, SandboxRecord
from cri.state.sandbox import Sandbox

if TYPE_CHECKING:
    from cri.container.handlers import Handler
    from cri.oci.selinux import SelinuxLabels
    from cri.sandbox.engine import PodEngine

log = structlog.get_logger(__name__)


def check_request(config: criv1.PodSandboxConfig) -> None:
    """Raise InvalidArgument naming the first field of the configuration that cannot be right."""
    check_extent("config", config)
    for field in ("name", "namespace", "uid"):
        value = getattr(config.metadata, field)
        if not value:
            raise InvalidArgument(f"config.metadata.{field} is empty")
        check_name(f"config.metadata.{field}", value)
    check_plain("config.log_directory", config.log_directory)
    if config.log_directory and (
        not config.log_directory.startswith("/") or ".." in config.log_directory.split("/")
    ):
        raise bad_value("config.log_directory", config.log_directory, "an absolute path without '..'")
    check_port_mappings(config.port_mappings)


async def run_sandbox(
    pods: PodEngine, name: str, config: criv1.PodSandboxConfig, handler_name: str
) -> Sandbox:
    """Make the sandbox and add it to the index. On any failure nothing of it is left, or, where CNI DEL failed too,
    a sandbox that is not ready and whose stop tries again.
    """
    identifier = secrets.token_hex(32)
    annotate(sandbox=identifier)
    engine = pods.engine
    handler = engine.handlers.get(handler_name)
    engine.node.sandbox_names.reserve(name, identifier)
    host_network = config.linux.security_context.namespace_options.network == criv1.NODE
    others = (*engine.node.sandboxes, *engine.node.forming.values())
    labels = engine.selinux.sandbox_labels(config, handler, others)
    record = SandboxRecord(
        id=identifier,
        name=name,
        config=config,
        network_namespace="" if host_network else str(engine.paths.network_namespace(identifier)),
        runtime_handler=handler_name,
        process_label="" if config.linux.security_context.privileged else labels.process,
        pins=planned_pins(engine.paths, identifier, config, handler, pods.settings.sandbox_mode),
    )
    # Until ADD begins there is nothing to release.
    sandbox = Sandbox(record, snapshotter=handler.snapshotter, network_released=not host_network)
    engine.node.forming[identifier] = sandbox
    try:
        async with UndoStack(f"RunPodSandbox {name}") as undo:
            await _run(pods, sandbox, handler, labels, undo)
    finally:
        del engine.node.forming[identifier]
        if sandbox.id not in engine.node.sandboxes:
            engine.node.sandbox_names.release(name, identifier)
    return sandbox


async def _run(
    pods: PodEngine, sandbox: Sandbox, handler: Handler, labels: SelinuxLabels, undo: UndoStack
) -> None:
    engine = pods.engine
    holder = holder_of(pods, sandbox)
    record = await holder.describe(sandbox, handler, labels)
    undo.push("remove record", lambda: _remove_record(pods, sandbox))
    created, _, _ = await together(
        _create_record(pods, record),
        holder.pin(sandbox, undo),
        _make_files(pods, sandbox, labels, undo),
    )
    sandbox.record = replace(sandbox.record, created_at=created.created_at)
    attached, _ = await together(_attach(pods, sandbox, handler, undo), holder.hold(sandbox, handler, undo))
    if attached is not sandbox.record:
        sandbox.record = attached
        with stage("record"):
            update = ContainerdContainer(
                id=sandbox.id, extensions={SANDBOX_EXTENSION: attached.to_extension()}
            )
            await engine.client.containers.update(update, f"extensions.{SANDBOX_EXTENSION}")
    if sandbox.ended.is_set():
        raise Unavailable(
            f"the process of {sandbox} (image {pods.settings.sandbox_image}) ended before the pod was ready; "
            "look at containerd's log"
        )
    sandbox.ready = True
    engine.node.add_sandbox(sandbox)
    engine.node.changes.sandbox(ChangeKind.CREATED, sandbox)
    engine.node.changes.sandbox(ChangeKind.STARTED, sandbox)
    log.info("sandbox runs", sandbox=sandbox.id, name=sandbox.record.name, ip=sandbox.record.ip)


async def _create_record(pods: PodEngine, record: ContainerdContainer) -> ContainerdContainer:
    with stage("record"):
        return await pods.engine.client.containers.create(record)


async def _make_files(pods: PodEngine, sandbox: Sandbox, labels: SelinuxLabels, undo: UndoStack) -> None:
    paths = pods.engine.paths
    with stage("files"):
        undo.push("remove files", lambda: finished_in_thread(remove_files, paths, sandbox.id))
        await finished_in_thread(prepare_files, paths, sandbox.record)
        await relabel_all((paths.sandbox_files(sandbox.id), paths.shared_memory(sandbox.id)), labels)


async def _attach(pods: PodEngine, sandbox: Sandbox, handler: Handler, undo: UndoStack) -> SandboxRecord:
    if sandbox.record.host_network:
        return sandbox.record
    sandbox.network_released = False
    undo.push("CNI DEL", lambda: network.detach(pods, sandbox))
    return await network.attach(pods, sandbox, handler)


async def _remove_record(pods: PodEngine, sandbox: Sandbox) -> None:
    """The last step of a roll-back. While the network could not be released, the record stays, for a stop to retry."""
    if sandbox.record.host_network or sandbox.network_released or not sandbox.record.created_at:
        await ensure_deleted(pods.engine.client.containers.delete(sandbox.id))
        return
    log.warning("sandbox stays, not ready: its network could not be released", sandbox=sandbox.id)
    sandbox.ended.set()
    sandbox.task_deleted.set()
    pods.engine.node.add_sandbox(sandbox)
    pods.engine.node.changes.sandbox(ChangeKind.CREATED, sandbox)
