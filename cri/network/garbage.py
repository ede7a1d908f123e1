"""Attachments that belong to no sandbox any more: finding them, releasing them, telling plugins what is left.

Only attachments of Kubernetes pods are ours to judge: the cache directory is shared with other libcni programs, whose
containers are none of our business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.network.result import INTERFACE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from cri.network.attachment import Attachment
    from cri.network.configuration import NetworkList


def stale_attachments(
    cached: Iterable[Attachment], known: Collection[str], ours: Callable[[Attachment], bool] = lambda _: True
) -> tuple[Attachment, ...]:
    """The cached attachments of `ours`, of pods whose sandbox ID is not `known`.

    `known` must have been taken after `cached`: a sandbox is known before its ADD begins, so one that is in the
    cache and not known has gone.
    """
    return tuple(item for item in cached if _is_pod(item) and ours(item) and item.container_id not in known)


def valid_attachments(
    network: NetworkList,
    index: int,
    cached: Sequence[Attachment],
    known: Collection[str],
    ours: Callable[[Attachment], bool] = lambda _: True,
) -> set[tuple[str, str]]:
    """What GC must spare on a network, as (container ID, interface): all that is cached and not stale, and every
    known sandbox, cached or not. `index` is the network's place, which gives the interface's name.
    """
    stale = stale_attachments(cached, known, ours)
    spared = {
        (item.container_id, item.interface)
        for item in cached
        if item.network == network.name and item not in stale
    }
    return spared | {(sandbox_id, f"{INTERFACE_PREFIX}{index}") for sandbox_id in known}


def _is_pod(attachment: Attachment) -> bool:
    return ("K8S_POD_INFRA_CONTAINER_ID", attachment.container_id) in attachment.arguments
