"""Ends of exec processes, as containerd's event stream reports them, handed to whoever waits for them.

A waiter registers before it starts its process, so that no exit can be missed while the stream is up. When the stream
was down, `pending` tells whom to ask containerd about.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.containerd import Exit


class ExecExits:
    """Futures by (container id, exec id)."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[Exit]] = {}

    def expect(self, container_id: str, exec_id: str) -> asyncio.Future[Exit]:
        """Register before Tasks.Start; the future resolves with the exit. Call `forget` when done with it."""
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._waiting[container_id, exec_id] = future
        return future

    def forget(self, container_id: str, exec_id: str) -> None:
        """End the interest in a process."""
        future = self._waiting.pop((container_id, exec_id), None)
        if future is not None:
            future.cancel()

    def ended(self, container_id: str, exec_id: str, exit_: Exit) -> None:
        """An exit was reported; unknown processes are other clients' business."""
        future = self._waiting.get((container_id, exec_id))
        if future is not None and not future.done():
            future.set_result(exit_)

    @property
    def pending(self) -> list[tuple[str, str]]:
        """Processes that are waited for."""
        return [key for key, future in self._waiting.items() if not future.done()]
