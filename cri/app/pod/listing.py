"""`cri-shim pod ls`: the pods with their containers as a table."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from api.wire import criv1 as cri
from cri.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cri.app.pod.node import Node

HEADINGS = ("POD", "NAMESPACE", "STATE", "AGE", "IP", "CONTAINERS", "ID")
SHORT_ID = 13
_STATES = {cri.SANDBOX_READY: "ready", cri.SANDBOX_NOTREADY: "stopped"}
_CONTAINER_STATES = {
    cri.CONTAINER_CREATED: "created",
    cri.CONTAINER_RUNNING: "running",
    cri.CONTAINER_EXITED: "exited",
    cri.CONTAINER_UNKNOWN: "unknown",
}


async def pod_rows(node: Node) -> list[tuple[str, ...]]:
    """One row a pod, newest first."""
    pods, containers = await asyncio.gather(node.pods({}), node.containers())
    addresses = await asyncio.gather(*(_addresses(node, pod.id) for pod in pods))
    now = time.time_ns()
    return [
        (
            pod.metadata.name,
            pod.metadata.namespace,
            _STATES.get(pod.state, "unknown"),
            age((now - pod.created_at) / 1e9),
            ip or "-",
            _containers(each for each in containers if each.pod_sandbox_id == pod.id),
            pod.id[:SHORT_ID],
        )
        for pod, ip in zip(pods, addresses, strict=True)
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, without spaces at the ends of lines."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def age(seconds: float) -> str:
    """A rough age: "5s", "12m", "3h", "2d"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


async def _addresses(node: Node, sandbox_id: str) -> str:
    try:
        return ",".join(await node.pod_addresses(sandbox_id))
    except NotFound:
        return ""  # removed since it was listed


def _containers(containers: Iterable[cri.Container]) -> str:
    shown = (f"{each.metadata.name}:{_CONTAINER_STATES.get(each.state, 'unknown')}" for each in containers)
    return " ".join(shown) or "-"
