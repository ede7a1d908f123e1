"""What the double knows: one record a thing, by namespace. Plain data; the rules are in the services.

Records that containerd gives out as they are (containers, images, ...) are kept as their protobuf messages.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from api.wire.containerd import containers_pb2, content_pb2, images_pb2, snapshots_pb2
from tests.double.refusals import invalid_argument

if TYPE_CHECKING:
    from tests.double.processes import Task

IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*")
LONGEST_IDENTIFIER = 76
LONGEST_LABEL = 4096


@dataclass(slots=True)
class Blob:
    info: content_pb2.Info
    data: bytes


@dataclass(slots=True)
class Ingest:
    ref: str
    total: int
    started_at: int
    updated_at: int
    leased: bool
    data: bytearray = field(default_factory=bytearray)
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    locked: bool = False
    shared: str = ""
    """Digest of a blob of another namespace that this ingest stands for until it is written to."""

    @property
    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"

    def append(self, data: bytes) -> None:
        self.data += data
        self.hash.update(data)
        self.updated_at = now()

    def clear(self) -> None:
        self.data.clear()
        self.hash = hashlib.sha256()
        self.updated_at = now()


@dataclass(slots=True)
class Lease:
    id: str
    created_at: int
    labels: dict[str, str]
    resources: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of type and ID."""


@dataclass(slots=True)
class Snapshot:
    info: snapshots_pb2.Info
    directory: Path
    """Has `fs`, the layer's own tree, and `work`, which overlayfs wants beside it."""


@dataclass(slots=True)
class Namespace:
    name: str
    labels: dict[str, str] = field(default_factory=dict)
    containers: dict[str, containers_pb2.Container] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    empty_shims: set[str] = field(default_factory=set)
    """Ids whose shim lives on without the task: Tasks.Delete was broken off in the middle."""
    images: dict[str, images_pb2.Image] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    ingests: dict[str, Ingest] = field(default_factory=dict)
    snapshots: defaultdict[str, dict[str, Snapshot]] = field(default_factory=lambda: defaultdict(dict))
    """By snapshotter, then by key."""

    @property
    def empty(self) -> bool:
        """Whether the namespace may be deleted."""
        return not (
            self.containers
            or self.tasks
            or self.images
            or self.leases
            or self.blobs
            or self.ingests
            or any(self.snapshots.values())
        )


@dataclass(slots=True)
class State:
    directory: Path
    """Where the snapshots' trees are; belongs to the double."""
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    sequence: int = 0

    def namespace(self, name: str) -> Namespace:
        """As in containerd, a namespace comes to be by using it."""
        return self.namespaces.setdefault(name, Namespace(name))

    def next_number(self) -> int:
        """A number never given out before."""
        self.sequence += 1
        return self.sequence


def now() -> int:
    """Unix nanoseconds."""
    return time.time_ns()


def timestamp(nanoseconds: int) -> timestamp_pb2.Timestamp:
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)


def check_identifier(text: str, what: str) -> None:
    """INVALID_ARGUMENT unless containerd would take it as an ID."""
    if not text:
        raise invalid_argument(f"{what}: identifier must not be empty")
    if len(text) > LONGEST_IDENTIFIER:
        raise invalid_argument(f'{what}: identifier "{text}" greater than maximum length (76 characters)')
    if not IDENTIFIER.fullmatch(text):
        raise invalid_argument(f'{what}: identifier "{text}" must match {IDENTIFIER.pattern}')


def stored_labels(labels: Mapping[str, str], what: str) -> dict[str, str]:
    """Labels as the database keeps them: checked for size, and without those whose value is empty."""
    for key, value in labels.items():
        if len(key.encode()) + len(value.encode()) > LONGEST_LABEL:
            raise invalid_argument(
                f"{what}: label key and value greater than maximum size (4096 bytes), key: {key[:10]}"
            )
    return {key: value for key, value in labels.items() if value}


def update_labels(
    labels: MutableMapping[str, str], wanted: Mapping[str, str], paths: Iterable[str], what: str
) -> list[str]:
    """Apply a field mask's label paths to `labels`; the answer is the other paths. An empty value removes."""
    others = []
    for path in paths:
        if path == "labels":
            labels.clear()
            labels.update(wanted)
        elif path.startswith("labels."):
            key = path.removeprefix("labels.")
            labels[key] = wanted.get(key, "")
        else:
            others.append(path)
    kept = stored_labels(labels, what)
    labels.clear()
    labels.update(kept)
    return others
