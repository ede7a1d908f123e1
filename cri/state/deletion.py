"""Deleting what may be gone already: the wanted end state is reached either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def ensure_deleted(deletion: Awaitable[object]) -> None:
    """Await a delete call of containerd's client; NotFound counts as done."""
    try:
        await deletion
    except errors.NotFound:
        pass
