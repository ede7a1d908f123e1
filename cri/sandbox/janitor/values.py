"""What the janitor speaks of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """Kinds of things that can be left over; the value is what people read."""

    NETWORK_NAMESPACE = "network namespace"
    SANDBOX_FILES = "files of a sandbox"
    CONTAINER_FILES = "files of a container"
    LAYERS = "id-mapped layers"
    ATTACHMENT = "CNI attachment"
    RESERVATION = "address reservation"
    SNAPSHOT = "snapshot"
    LEASE = "lease"
    TASK = "task"
    SHIM = "shim"
    CONTAINER = "container"
    FOLLOWED_LOG = "followed log"
    RECORD = "record"


class Remedy(Enum):
    """What is done about a leftover."""

    REMOVE = "remove"
    REPORT = "report"
    """Removing it is not safe or not possible from here; the reason says what to do."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing on the node."""

    kind: Kind
    name: str
    """Path, key or id."""
    owner: str
    """Id of the sandbox or container that it is for; of a network namespace as much of it as its name holds."""
    since: int = 0
    """When it was made or last changed, Unix nanoseconds; 0 where nobody knows."""
    alive: bool = False
    """A process runs in it."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Whom things may belong to, taken after the things were listed."""

    sandboxes: frozenset[str]
    """Ids in the index, and those reserved by a RunPodSandbox under way."""
    containers: frozenset[str]
    records: frozenset[str]
    """Ids of all container records in containerd, whoever made them."""
    servers: frozenset[str] = frozenset()
    """Servers that are alive: this one."""
    leased_snapshots: frozenset[str] = frozenset()
    quarantined: dict[str, str] = field(default_factory=dict)
    """Reason by id of records that cannot be used."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that nobody owns."""

    kind: Kind
    name: str
    owner: str
    reason: str
    remedy: Remedy
    age_seconds: float | None = None
    """None where nobody knows."""
    size: int | None = None
    """Bytes on disk, None where that means nothing."""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}: {self.reason}"
