"""containerd's own CRI plugin on the containerd that is used: two CRI servers must not share one namespace.

Each would take the other's pods for its own after a restart, collect what the other has just made, and miss what
the other changes. So the server does not start beside it unless configured to. A plugin on another containerd, one
that failed to load, and one that is switched off do not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import errors as containerd_errors
from api.containerd.introspection import GRPC
from cri.errors import FailedPrecondition
from cri.state.plugin_files import is_loaded

if TYPE_CHECKING:
    from api.containerd import Client

SECONDS = 2.0
DISABLED = (
    'disabled_plugins = ["io.containerd.grpc.v1.cri", '
    '"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]'
)
"""The line of containerd's configuration that switches the plugin off, by its names in 1.x and 2.x."""


async def demand_absence(client: Client) -> None:
    """Raise FailedPrecondition with the remedy if the plugin is loaded. An absent containerd is no reason to refuse."""
    try:
        plugins = await client.introspection.plugins(f"type=={GRPC}", timeout=SECONDS)
    except containerd_errors.ContainerdError:
        return
    if is_loaded(plugins):
        raise FailedPrecondition(refusal(client.address))


def refusal(address: str) -> str:
    """What is told to the operator."""
    return (
        f"containerd at {address} serves CRI itself; two CRI servers on one containerd would undo each other's work.\n"
        "Switch its plugin off with this line in /etc/containerd/config.toml, below its version (version = 2 in a new "
        f"file), and restart containerd (running pods go on, and are taken over):\n    {DISABLED}\n"
        "If the plugin is known to be idle, set allow_builtin_cri = true in [containerd] of cri-shim's configuration."
    )
