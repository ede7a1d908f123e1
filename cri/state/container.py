"""A live container: its record, its status and what the operations on it share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from api.wire import criv1
from cri.errors import FailedPrecondition
from cri.state.container_status import CRI_STATES, ContainerStatus, Phase
from cri.state.records import ContainerRecord, StatusRecord


class OomKills(Protocol):
    """Reads how often the kernel killed a process of the container for want of memory."""

    def kills(self) -> int | None:
        """The count, None if it can no longer be read."""

    def kills_above(self) -> int:
        """The same for all that shares its cgroup parent, which can still be read then; 0 where nothing tells."""


@dataclass(slots=True, eq=False)
class Container:
    """One container. Start, update and removal hold `lock`; a stop does not, so that a shorter grace can overtake."""

    record: ContainerRecord
    status: ContainerStatus
    snapshotter: str
    process: bytes = b"{}"
    """The OCI process of its spec as JSON, from which exec processes are derived; kept so that an exec asks nobody."""
    user: criv1.ContainerUser = field(default_factory=criv1.ContainerUser)
    """Who the process is, as kubelet reads it back."""
    resources: criv1.ContainerResources = field(default_factory=criv1.ContainerResources)
    oom: OomKills | None = None
    oom_seen: bool = False
    """containerd has reported an out-of-memory kill in the container's cgroup."""
    list_entry: tuple[ContainerStatus, bytes] | None = None
    """The encoded item of a list, and the status that it shows: kubelet lists everything each second."""
    removing: bool = False
    claimed: bool = True
    """Some client is known to have been told its id; false after a restart, until one names it."""
    half_made: bool = False
    """Left by a server that died while it made it; it is being removed."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the exit has been observed and recorded: the status is EXITED."""
    task_deleted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while containerd holds no task for it."""

    @property
    def id(self) -> str:
        """The container id, which is the id of its containerd container and of its snapshot."""
        return self.record.id

    @property
    def config(self) -> criv1.ContainerConfig:
        """The configuration of the request, never changed."""
        return self.record.config

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.status.phase is Phase.RUNNING

    def require_running(self, consequence: str) -> None:
        """Raise FailedPrecondition, saying what follows, unless the container runs."""
        if not self.running:
            state = criv1.ContainerState.Name(CRI_STATES[self.status.phase])
            raise FailedPrecondition(f"{self} is in state {state}; {consequence}")

    @property
    def stored(self) -> StatusRecord:
        """The status as it goes into the record."""
        return StatusRecord(self.status, self.resources)

    def __str__(self) -> str:
        return f"container {self.id[:13]} ({self.config.metadata.name})"
