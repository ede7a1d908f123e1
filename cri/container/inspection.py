"""Looks into what containerd stores of a container, for verbose answers only: everything else is in the index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from api.containerd import errors as containerd_errors

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
