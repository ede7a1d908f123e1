"""Which holder a sandbox has: decided once, when it is made, and read from its record ever after.

Mounts can hold namespaces of network, IPC, UTS and users. A process is needed, and made, when

    - containers are to share a PID namespace (mode POD): it ends with its first process;
    - the runtime is not runc's: a virtual machine or another kernel has a sandbox of its own;
    - the configuration asks for one, for all pods or for those of a handler (`sandbox_mode`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container.handlers import SandboxMode
from cri.linux.boot import boot_id
from cri.oci.handler import RUNC_TYPE
from cri.oci.namespaces import user_mappings
from cri.sandbox.holders.mounts import HeldByMounts
from cri.sandbox.holders.process import HeldByProcess
from cri.state.pins import Pins

if TYPE_CHECKING:
    from cri.container.handlers import Handler
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.holders.holder import Holder
    from cri.state.paths import NodePaths
    from cri.state.sandbox import Sandbox


def needs_process(config: criv1.PodSandboxConfig, handler: Handler, node_mode: SandboxMode) -> bool:
    """The rule above."""
    return (
        (handler.sandbox_mode or node_mode) is SandboxMode.PAUSE
        or handler.runtime_type != RUNC_TYPE
        or config.linux.security_context.namespace_options.pid == criv1.POD
    )


def planned_pins(
    paths: NodePaths, sandbox_id: str, config: criv1.PodSandboxConfig, handler: Handler, mode: SandboxMode
) -> Pins | None:
    """What the record of a new sandbox says of its pins; None for one that a process will hold."""
    if needs_process(config, handler, mode):
        return None
    options = config.linux.security_context.namespace_options
    own_uts = options.network != criv1.NODE
    return Pins(
        boot_id=boot_id(),
        ipc=str(paths.ipc_namespace(sandbox_id)) if options.ipc != criv1.NODE else "",
        uts=str(paths.uts_namespace(sandbox_id)) if own_uts else "",
        user=str(paths.user_namespace(sandbox_id)) if user_mappings(options) is not None else "",
    )


def holder_of(pods: PodEngine, sandbox: Sandbox) -> Holder:
    """The one that the record names."""
    return HeldByProcess(pods) if sandbox.record.pins is None else HeldByMounts(pods)
