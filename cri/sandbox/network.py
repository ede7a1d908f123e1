"""The network of one sandbox: its namespace made and pinned, CNI ADD and DEL, and what the record keeps of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import structlog

from cri.concurrency.threads import finished_in_thread
from cri.container.id_mapping import ids_of
from cri.linux.namespaces import (
    NamespaceSet,
    create_network_namespace,
    is_namespace,
    remove_network_namespace,
    unpin,
)
from cri.linux.user_namespaces import pin_user_namespace
from cri.network.record import from_record, to_record
from cri.network.result import AttachmentResult, pod_ips
from cri.observe.stages import stage
from cri.sandbox.pod_request import pod_request

if TYPE_CHECKING:
    from cri.concurrency.undo import UndoStack
    from cri.container.handlers import Handler
    from cri.network.documents import JsonObject
    from cri.sandbox.engine import PodEngine
    from cri.state.paths import NodePaths
    from cri.state.records import SandboxRecord
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


async def make_namespaces(paths: NodePaths, record: SandboxRecord, undo: UndoStack) -> None:
    """Make and pin the network namespace that the record names, and before it the user namespace that owns it."""
    ids = ids_of(record.config)
    path = None if record.host_network else Path(record.network_namespace)
    with stage("netns"):
        if path is not None:
            undo.push("remove network namespace", partial(remove_network_namespace, path))
            path.parent.mkdir(parents=True, exist_ok=True)
        if ids is not None:
            user = paths.user_namespace(record.id)
            undo.push("remove user namespace", lambda: finished_in_thread(unpin, user))
            user.parent.mkdir(parents=True, exist_ok=True)
            await pin_user_namespace(ids, user, NamespaceSet(path))
        elif path is not None:
            await create_network_namespace(path)


async def attach(pods: PodEngine, sandbox: Sandbox, handler: Handler) -> SandboxRecord:
    """CNI ADD; returns the record with the pod's addresses. The caller has pushed `detach` before."""
    network = pods.networks.of(handler)
    with stage("cni"):
        result = await network.attach(pod_request(sandbox.record, Path(sandbox.record.network_namespace)))
    primary, additional = pod_ips(result, pods.networks.ip_pref)
    return sandbox.record.with_network((primary, *additional) if primary else (), to_record(result))


async def detach(pods: PodEngine, sandbox: Sandbox) -> None:
    """CNI DEL and the end of the namespace. Idempotent, also after a reboot has taken the namespace away."""
    record = sandbox.record
    if record.host_network or sandbox.network_released:
        return
    path = Path(record.network_namespace)
    network = pods.networks.of(pods.engine.handlers.get_or_default(record.runtime_handler))
    with stage("cni-del"):
        await network.detach(pod_request(record, path if is_namespace(path) else None), _recorded(record))
    with stage("netns"):
        await remove_network_namespace(path)
    sandbox.network_released = True


def _recorded(record: SandboxRecord) -> AttachmentResult | None:
    """What ADD answered; without it (ADD never finished) the cache beside the plugins knows the configuration."""
    if record.cni_result is None:
        return None
    try:
        return from_record(cast("JsonObject", record.cni_result))
    except ValueError as error:
        log.warning(
            "the record's CNI result is unreadable, using the cache", sandbox=record.id, error=str(error)
        )
        return None
