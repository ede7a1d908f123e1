"""A live pod sandbox: its record and what is known of it now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci.namespaces import NamespacePaths

if TYPE_CHECKING:
    from cri.state.records import SandboxRecord


@dataclass(slots=True, eq=False)
class Sandbox:
    """One pod sandbox. Operations on it hold `lock`; lists and statuses read without it."""

    record: SandboxRecord
    ready: bool = False
    """READY in CRI's sense: the pod's namespaces are held and intact."""
    pid: int = 0
    """Host pid of the process that holds the namespaces, 0 where mounts do."""
    network_released: bool = False
    """CNI DEL has succeeded and the namespace is gone; StopPodSandbox need not do it again."""
    snapshotter: str = ""
    image_id: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task_creation: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a container's task is created, where the first task of the pod brings its shim."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the sandbox process is known to be gone."""
    task_deleted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once containerd holds no task for the sandbox any more."""
    list_entry: tuple[SandboxRecord, bool, bytes] | None = None
    """The encoded item of a list, with the record and the readiness that it shows."""
    removing: bool = False
    claimed: bool = True
    """Some client is known to have been told its id; false after a restart, until one names it."""
    half_made: bool = False
    """Left by a server that died while it made it; it is being removed."""

    @property
    def id(self) -> str:
        """The pod sandbox id, which is the id of its containerd container."""
        return self.record.id

    @property
    def config(self) -> criv1.PodSandboxConfig:
        """The configuration of the request, never changed."""
        return self.record.config

    @property
    def namespaces(self) -> NamespacePaths:
        """Where its containers join its namespaces: at the pins, or through the process that is in them."""
        record, options = self.record, self.config.linux.security_context.namespace_options
        if record.pins is None:
            return NamespacePaths.of_process(self.pid, options)
        pins = record.pins
        return NamespacePaths(
            network=record.network_namespace or None,
            ipc=pins.ipc or None,
            uts=pins.uts or None,
            pid=None,
            user=pins.user or None,
        )

    @property
    def shim_owner(self) -> str:
        """What its containers' records name as their sandbox: the one whose task's deletion ends their shim.

        Since 2.0 containerd leaves the end of a shim to that. Without such a task they must name none, or the shim
        would stay for ever; then it ends with the last of them.
        """
        return self.id if self.record.pins is None else ""

    @property
    def state(self) -> criv1.PodSandboxState.ValueType:
        """The state that CRI reports."""
        return criv1.SANDBOX_READY if self.ready else criv1.SANDBOX_NOTREADY

    def __str__(self) -> str:
        metadata = self.config.metadata
        return f"pod sandbox {self.id[:13]} ({metadata.namespace}/{metadata.name})"
