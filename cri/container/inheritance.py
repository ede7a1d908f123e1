"""What an earlier life of the server left under a container's name, when the creation is tried again.

After a restart nobody knows which creators received their answer. So a created container that no client has named
since, and that is what is being asked for, is the answer; one that is half-made is removed first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.container.remove import remove_container
from cri.state.container_status import Phase
from cri.state.go_json import to_go_json

if TYPE_CHECKING:
    from api.wire import criv1
    from cri.container.engine import Engine
    from cri.state.container import Container
    from cri.state.node import Node


def inherited_container(
    node: Node, sandbox_id: str, name: str, config: criv1.ContainerConfig
) -> Container | None:
    """The finished container that a retry of its creation is to be given."""
    found = _holder(node, name)
    if found is None or found.claimed or found.half_made or found.status.phase is not Phase.CREATED:
        return None
    if found.record.sandbox_id != sandbox_id or to_go_json(found.config) != to_go_json(config):
        return None
    return found


async def make_room_for_container(engine: Engine, name: str) -> None:
    """Finish the removal of a half-made container of this name."""
    found = _holder(engine.node, name)
    if found is not None and found.half_made:
        await remove_container(engine, found)


def _holder(node: Node, name: str) -> Container | None:
    holder = node.container_names.holder(name)
    return node.containers.find(holder) if holder else None
