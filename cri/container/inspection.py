"""Looks for what the index does not have, for verbose answers only: in containerd's records, in the log keeper."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from api.containerd import errors as containerd_errors
from cri.errors import CriError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.container.engine import Engine


async def runtime_spec(engine: Engine, identifier: str) -> Mapping[str, object]:
    """The OCI spec of a container or sandbox; empty if containerd cannot give it, so that no status fails for it."""
    try:
        record = await engine.client.containers.get(identifier)
    except containerd_errors.ContainerdError:
        return {}
    spec: Mapping[str, object] = json.loads(record.spec.value) if record.spec else {}
    return spec


async def log_counters(engine: Engine, container_id: str) -> Mapping[str, object]:
    """What the log keeper has counted of a container's output; empty if it does not follow it or does not answer."""
    try:
        counters = await engine.keeper.counters(container_id)
    except CriError:
        return {}
    return {} if counters is None else asdict(counters)
