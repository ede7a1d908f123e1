"""Deleting what may be gone already: the wanted end state is reached either way."""

from __future__ import annotations

from collections.abc import Awaitable

from api.containerd import errors


async def ensure_deleted(deletion: Awaitable[object]) -> None:
    """Await a delete call of containerd's client; NotFound counts as done."""
    try:
        await deletion
    except errors.NotFound:
        pass
