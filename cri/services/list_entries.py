"""The items of the big lists in their wire form, encoded again only when what they show has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container import status as container_status
from cri.sandbox import status as sandbox_status
from cri.services.encoding import field

if TYPE_CHECKING:
    from cri.state.container import Container
    from cri.state.sandbox import Sandbox

ITEMS_FIELD = criv1.ListContainersResponse.CONTAINERS_FIELD_NUMBER
"""The number of the repeated field in all four list responses, unary and streamed."""


def container_entry(container: Container) -> bytes:
    """The container as an element of ListContainersResponse or StreamContainersResponse."""
    kept = container.list_entry
    if kept is not None and kept[0] is container.status:
        return kept[1]
    entry = field(ITEMS_FIELD, container_status.list_item(container))
    container.list_entry = (container.status, entry)
    return entry


def sandbox_entry(sandbox: Sandbox) -> bytes:
    """The sandbox as an element of ListPodSandboxResponse or StreamPodSandboxesResponse."""
    kept = sandbox.list_entry
    if kept is not None and kept[0] is sandbox.record and kept[1] == sandbox.ready:
        return kept[2]
    entry = field(ITEMS_FIELD, sandbox_status.list_item(sandbox))
    sandbox.list_entry = (sandbox.record, sandbox.ready, entry)
    return entry
