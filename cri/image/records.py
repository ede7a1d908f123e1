"""The image records of containerd that make an image known to CRI, with the labels of containerd's CRI plugin.

Three names per pulled image: its id, the repo tag, the repo digest. They are what keeps it from the garbage
collector, and what either server recognises as an image that CRI manages.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Final

from api.containerd import Image as Record
from api.containerd import errors as containerd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.containerd import Client, Descriptor

MANAGED_LABEL: Final = "io.cri-containerd.image"
MANAGED: Final = "managed"
PINNED_LABEL: Final = "io.cri-containerd.pinned"
PINNED: Final = "pinned"

_ATTEMPTS = 3


def labels_for(*, pinned: bool) -> dict[str, str]:
    """The labels of a record that this server writes."""
    labels = {MANAGED_LABEL: MANAGED}
    if pinned:
        labels[PINNED_LABEL] = PINNED
    return labels


def is_pinned(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Whether one of an image's names is, or matches, one of the configured references or shell patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


async def write(client: Client, name: str, target: Descriptor, labels: Mapping[str, str]) -> Record:
    """Have a record `name` that points at `target` and has `labels`; other labels of it stay.

    Create and update are two calls, so another client may delete or create the name between them: then again.
    """
    record = Record(name, target, labels)
    for _ in range(_ATTEMPTS - 1):
        try:
            return await client.images.create(record)
        except containerd.AlreadyExists:
            pass
        try:
            return await _change(client, record)
        except containerd.NotFound:
            continue
    return await client.images.create(record)


async def _change(client: Client, record: Record) -> Record:
    old = await client.images.get(record.name)
    paths = [f"labels.{key}" for key, value in record.labels.items() if old.labels.get(key) != value]
    if old.target.digest == record.target.digest and not paths:
        return old
    return await client.images.update(record, "target", *paths)
