"""What every container operation works with: the collaborators, assembled once by `cri.app`.

`handlers`, `oci` and `settings` are values, and the only attributes that are ever replaced: when the configuration is
read again. An operation under way may see the old and the new ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.container.cdi import CdiDevices
from cri.container.exec_exits import ExecExits
from cri.container.selinux import Selinux
from cri.container.stop_schedule import StopSchedules

if TYPE_CHECKING:
    from api.containerd import Client
    from cri.concurrency.supervision import Supervisor
    from cri.container.accounts import Accounts
    from cri.container.handlers import Handlers
    from cri.container.settings import ContainerSettings
    from cri.image.store import ImageStore
    from cri.logs.client import LogKeeper
    from cri.oci.host import HostFacts
    from cri.oci.settings import OciSettings
    from cri.state.node import Node
    from cri.state.paths import NodePaths


@dataclass(eq=False, slots=True)
class Engine:
    """The collaborators of container and sandbox operations; holds no state of its own."""

    client: Client
    node: Node
    images: ImageStore
    keeper: LogKeeper
    supervisor: Supervisor
    handlers: Handlers
    paths: NodePaths
    host: HostFacts
    oci: OciSettings
    settings: ContainerSettings
    accounts: Accounts
    selinux: Selinux = field(default_factory=Selinux)
    checkpoints: set[str] = field(default_factory=set)
    """Containers of which a checkpoint is under way."""
    cdi: CdiDevices = field(default_factory=CdiDevices)
    exec_exits: ExecExits = field(default_factory=ExecExits)
    stops: StopSchedules = field(default_factory=StopSchedules)
