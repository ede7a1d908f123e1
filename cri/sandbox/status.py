"""CRI's views of a sandbox: the list item, the status, the verbose information. Pure: from the index only."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.state.sandbox import Sandbox


def list_item(sandbox: Sandbox) -> criv1.PodSandbox:
    """The item of ListPodSandbox."""
    return criv1.PodSandbox(
        id=sandbox.id,
        metadata=sandbox.config.metadata,
        state=sandbox.state,
        created_at=sandbox.record.created_at,
        labels=sandbox.config.labels,
        annotations=sandbox.config.annotations,
        runtime_handler=sandbox.record.runtime_handler,
    )


def status_message(sandbox: Sandbox) -> criv1.PodSandboxStatus:
    """The status of PodSandboxStatus. A stopped pod has no address, nor has one with host network."""
    record = sandbox.record
    network = criv1.PodSandboxNetworkStatus()
    if sandbox.ready and not sandbox.network_released:
        network.ip = record.ip
        network.additional_ips.extend(criv1.PodIP(ip=ip) for ip in record.additional_ips)
    options = sandbox.config.linux.security_context.namespace_options
    return criv1.PodSandboxStatus(
        id=sandbox.id,
        metadata=sandbox.config.metadata,
        state=sandbox.state,
        created_at=record.created_at,
        network=network,
        linux=criv1.LinuxPodSandboxStatus(namespaces=criv1.Namespace(options=options)),
        labels=sandbox.config.labels,
        annotations=sandbox.config.annotations,
        runtime_handler=record.runtime_handler,
    )


def verbose_info(sandbox: Sandbox, runtime_spec: Mapping[str, object]) -> dict[str, str]:
    """The verbose information, one JSON document under the key "info" as crictl's templates read it."""
    info = {
        "pid": sandbox.pid,
        "processStatus": "running" if sandbox.ready else "deleted",
        "heldBy": "process" if sandbox.record.pins is None else "mounts",
        "namespaces": {name: path for name, path in asdict(sandbox.namespaces).items() if path is not None},
        "netNamespaceClosed": sandbox.network_released,
        "snapshotKey": sandbox.id if sandbox.record.pins is None else "",
        "snapshotter": sandbox.snapshotter,
        "runtimeHandler": sandbox.record.runtime_handler,
        "cniResult": sandbox.record.cni_result,
        "runtimeSpec": runtime_spec,
    }
    return {"info": json.dumps(info)}
