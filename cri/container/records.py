"""Writing a container's status into its containerd record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from cri.state.records import STATUS_EXTENSION, StatusRecord

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.state.container import Container

log = structlog.get_logger(__name__)


async def store_status(engine: Engine, container: Container, stored: StatusRecord) -> None:
    """Replace the status in the record. A record that somebody deleted meanwhile is no error."""
    update = ContainerdContainer(id=container.id, extensions={STATUS_EXTENSION: stored.to_extension()})
    try:
        await engine.client.containers.update(update, f"extensions.{STATUS_EXTENSION}")
    except containerd_errors.NotFound:
        log.warning("the container's record is gone from containerd", container=container.id)
