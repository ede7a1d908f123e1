"""A pod as a whole at one instant: its sandbox's status and those of all its containers, exited ones included.

PodSandboxStatus and every event carry it, so that a kubelet that follows events need not ask again. It is made without
letting anything else run in between, which is what makes it consistent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.container.status import status_message as container_status
from cri.sandbox.status import status_message as sandbox_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.wire import criv1
    from cri.container.engine import Engine
    from cri.state.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class PodView:
    """What was true at `timestamp` (Unix nanoseconds)."""

    timestamp: int
    sandbox: criv1.PodSandboxStatus
    containers: Sequence[criv1.ContainerStatus]


def pod_view(engine: Engine, sandbox: Sandbox) -> PodView:
    """The pod as the index has it now, newest container first. Answered from memory.

    With evented PLEG the kubelet looks for a container's present attempt by its name, and takes the first status that
    has it; behind an older one it would not see the newer, and make that attempt again.
    """
    newest_first = sorted(
        engine.node.containers_of(sandbox.id), key=lambda each: each.status.created_at, reverse=True
    )
    return PodView(
        timestamp=time.time_ns(),
        sandbox=sandbox_status(sandbox),
        containers=[
            container_status(container, engine.images.find(container.record.image_id))
            for container in newest_first
        ],
    )
