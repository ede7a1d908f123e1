"""What an earlier life of the server left under a sandbox's name, when RunPodSandbox is tried again.

After a restart nobody knows which callers received their answer. So a ready sandbox that no client has named since, in
which nothing was made, and that is what is being asked for, is the answer; one that cannot be told from a half-made one
(on the host's network, where no address says that it was finished) makes room, as half-made ones do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.sandbox.remove import remove_sandbox
from cri.state.go_json import to_go_json

if TYPE_CHECKING:
    from api.wire import criv1
    from cri.sandbox.engine import PodEngine
    from cri.state.node import Node
    from cri.state.sandbox import Sandbox


def inherited_sandbox(node: Node, name: str, config: criv1.PodSandboxConfig, handler: str) -> Sandbox | None:
    """The finished sandbox that a retry of its creation is to be given."""
    found = _unclaimed(node, name)
    if found is None or found.half_made or not found.ready or found.record.runtime_handler != handler:
        return None
    return found if to_go_json(found.config) == to_go_json(config) else None


async def make_room_for_sandbox(pods: PodEngine, name: str) -> None:
    """Remove a sandbox of this name that was never finished, as far as can be told."""
    found = _unclaimed(pods.engine.node, name)
    if found is not None and (found.half_made or (found.record.host_network and not found.ready)):
        await remove_sandbox(pods, found)


def _unclaimed(node: Node, name: str) -> Sandbox | None:
    """The holder of a name, if nobody is known to have received it: no client named it, no container is in it."""
    holder = node.sandbox_names.holder(name)
    found = node.sandboxes.find(holder) if holder else None
    if found is None or found.claimed or node.containers_of(found.id):
        return None
    return found
