"""Which tasks there are, although a shim may hang.

For a list containerd asks one shim after the other, and gives each two seconds. So a few shims that hang (stopped by an
operator, starved, waiting for a disk) would hold up all others. When the list does not come soon, the shims are asked
beside each other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from api.containerd import Process, ProcessStatus
from api.containerd import errors as containerd_errors
from cri.concurrency.together import all_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.containerd import Client

log = structlog.get_logger(__name__)

LIST_SECONDS = 1.5
ANSWER_SECONDS = 2.5
"""Longer than containerd gives a shim, so that its answer for a shim that hangs is heard."""
ASKED_AT_ONCE = 64


async def current_tasks(client: Client) -> dict[str, Process]:
    """Init processes by container id; UNKNOWN where the shim does not answer. Raises ContainerdError."""
    try:
        listed = await client.tasks.list(timeout=LIST_SECONDS)
    except containerd_errors.DeadlineExceeded:
        log.warning("containerd does not list its tasks, asking for each", seconds=LIST_SECONDS)
        return await _one_by_one(client, [record.id for record in await client.containers.list()])
    return {task.container_id: task for task in listed}


async def _one_by_one(client: Client, identifiers: Iterable[str]) -> dict[str, Process]:
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(identifier: str) -> Process | None:
        async with gate:
            try:
                return await client.tasks.get(identifier, timeout=ANSWER_SECONDS)
            except containerd_errors.NotFound:
                return None
            except containerd_errors.DeadlineExceeded:
                unknown = ProcessStatus.UNKNOWN
                return Process(identifier, "", 0, unknown, 0, 0, "", "", "", terminal=False)

    found = await all_of([ask(identifier) for identifier in identifiers])
    return {task.container_id: task for task in found if task is not None}
