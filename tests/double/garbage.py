"""The garbage collector: what nothing names goes. The rules of containerd 1.6's metadata/gc.go.

Roots are unexpired leases with what they hold, images, containers, ingests younger than a day, and whatever is
labelled `containerd.io/gc.root`. From there references are followed: labels of content, snapshots, images and
containers, parents of snapshots. Everything of the kinds below that was not reached is removed, expired leases
included.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.double.state import Namespace, State, now

ROOT_LABEL = "containerd.io/gc.root"
EXPIRE_LABEL = "containerd.io/gc.expire"
FLAT_LABEL = "containerd.io/gc.flat"
CONTENT_LABEL = "containerd.io/gc.ref.content"
SNAPSHOT_LABEL = "containerd.io/gc.ref.snapshot."
INGEST_NANOSECONDS = 24 * 3600 * 1_000_000_000


class Node(NamedTuple):
    """A thing that can be held. `flat` nodes hold their parents but not what their labels name."""

    kind: str
    """"content", "ingests", "leases", "snapshots/<snapshotter>"."""
    key: str
    flat: bool = False


def collect(state: State) -> list[str]:
    """Remove the garbage of all namespaces; the answer names it, for assertion messages."""
    removed = []
    for namespace in state.namespaces.values():
        removed += [
            f"{namespace.name} {node.kind} {node.key}" for node in _sweep(namespace, _mark(namespace))
        ]
    return removed


def _mark(namespace: Namespace) -> set[Node]:
    reached: set[Node] = set()
    pending = list(_roots(namespace))
    while pending:
        node = pending.pop()
        if node not in reached:
            reached.add(node)
            pending += _references(namespace, node)
    return {node._replace(flat=False) for node in reached}


def _roots(namespace: Namespace) -> Iterator[Node]:
    for lease in namespace.leases.values():
        if _expired(lease.labels):
            continue
        yield Node("leases", lease.id)
        flat = FLAT_LABEL in lease.labels
        for kind, key in lease.resources:
            yield Node(kind, key, flat and kind != "ingests")
    for image in namespace.images.values():
        yield Node("content", image.target.digest)
        yield from _labelled(image.labels)
    for container in namespace.containers.values():
        if container.snapshotter:
            yield Node(f"snapshots/{container.snapshotter}", container.snapshot_key)
        yield from _labelled(container.labels)
    for ingest in namespace.ingests.values():
        if not ingest.leased and now() - ingest.started_at < INGEST_NANOSECONDS:
            yield Node("ingests", ingest.ref)
    for digest, blob in namespace.blobs.items():
        if blob.info.labels.get(ROOT_LABEL):
            yield Node("content", digest)
    for snapshotter, snapshots in namespace.snapshots.items():
        for key, snapshot in snapshots.items():
            if snapshot.info.labels.get(ROOT_LABEL):
                yield Node(f"snapshots/{snapshotter}", key)


def _references(namespace: Namespace, node: Node) -> Iterator[Node]:
    if node.kind == "content" and node.key in namespace.blobs and not node.flat:
        yield from _labelled(namespace.blobs[node.key].info.labels)
    elif node.kind.startswith("snapshots/"):
        snapshot = namespace.snapshots[node.kind.partition("/")[2]].get(node.key)
        if snapshot is not None and snapshot.info.parent:
            yield Node(node.kind, snapshot.info.parent, node.flat)
        if snapshot is not None and not node.flat:
            yield from _labelled(snapshot.info.labels)
    elif node.kind == "ingests" and node.key in namespace.ingests:
        shared = namespace.ingests[node.key].shared
        if shared:
            yield Node("content", shared)


def _labelled(labels: Mapping[str, str]) -> Iterator[Node]:
    for label, value in labels.items():
        if label.startswith(SNAPSHOT_LABEL):
            yield Node(f"snapshots/{label.removeprefix(SNAPSHOT_LABEL).partition('/')[0]}", value)
        elif label == CONTENT_LABEL or label.startswith((CONTENT_LABEL + ".", CONTENT_LABEL + "/")):
            yield Node("content", value)


def _sweep(namespace: Namespace, kept: set[Node]) -> Iterator[Node]:
    for lease_id in [lease for lease in namespace.leases if Node("leases", lease) not in kept]:
        del namespace.leases[lease_id]
        yield Node("leases", lease_id)
    for digest in [digest for digest in namespace.blobs if Node("content", digest) not in kept]:
        del namespace.blobs[digest]
        yield Node("content", digest)
    for ref in [ref for ref in namespace.ingests if Node("ingests", ref) not in kept]:
        del namespace.ingests[ref]
        yield Node("ingests", ref)
    for snapshotter, snapshots in namespace.snapshots.items():
        kind = f"snapshots/{snapshotter}"
        for key in [key for key in snapshots if Node(kind, key) not in kept]:
            shutil.rmtree(snapshots.pop(key).directory, ignore_errors=True)
            yield Node(kind, key)


def _expired(labels: Mapping[str, str]) -> bool:
    try:
        return dt.datetime.fromisoformat(labels[EXPIRE_LABEL]) < dt.datetime.now(dt.UTC)
    except (KeyError, ValueError):
        return False
