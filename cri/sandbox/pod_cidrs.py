"""The node's pod CIDRs, which the kubelet tells once (UpdateRuntimeConfig) and not again when this server restarts.

So they are kept, as a label of the containerd namespace that the pods are in: CNI plugins that are given address ranges
would otherwise get none after a restart, and a pod another network's address or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from api.containerd import errors as containerd_errors
from cri.errors import CriError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.sandbox.engine import PodEngine

log = structlog.get_logger(__name__)

LABEL: Final = "io.cri-shim.pod-cidrs"


async def update_pod_cidrs(pods: PodEngine, cidrs: Sequence[str]) -> None:
    """Hand the CIDRs to every network, and keep them. None is a no-op.

    Raises InvalidArgument for what is no CIDR, FailedPrecondition where the CNI template cannot be filled in.
    """
    if not cidrs:
        return
    for network in pods.networks:
        await network.set_pod_cidrs(cidrs)
    client = pods.engine.client
    await client.namespaces.ensure(client.namespace, {LABEL: ",".join(cidrs)})


async def restore_pod_cidrs(pods: PodEngine) -> None:
    """Hand out again what was kept. Never fails: the networks that the configuration describes do without."""
    client = pods.engine.client
    try:
        kept = (await client.namespaces.get(client.namespace)).labels.get(LABEL, "")
        for network in pods.networks:
            await network.set_pod_cidrs(kept.split(",") if kept else [])
    except (CriError, containerd_errors.ContainerdError) as error:
        log.warning("the pod CIDRs that the kubelet told are not in use", reason=str(error))
