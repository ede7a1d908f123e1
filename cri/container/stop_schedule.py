"""When a container that is being stopped gets its SIGKILL.

The stop signal is sent once: a second StopContainer during the grace period must not repeat it, but may shorten the
grace, never lengthen it. The schedule outlives the caller that began it, so that a kubelet that goes away in the
middle of a grace period still gets its container stopped.
"""

from __future__ import annotations

import asyncio


class StopSchedule:
    """One container's stop under way."""

    def __init__(self, kill_at: float) -> None:
        """`kill_at` is loop time in seconds."""
        self._kill_at = kill_at
        self._running: set[asyncio.Timeout] = set()

    def shorten(self, kill_at: float) -> None:
        """Move the kill forward; a later time is ignored."""
        if kill_at < self._kill_at:
            self._kill_at = kill_at
            for timeout in self._running:
                timeout.reschedule(kill_at)

    def postpone(self, kill_at: float) -> None:
        """The kill was sent: the next one, should it be needed, is at `kill_at`."""
        self._kill_at = kill_at

    async def ended_in_time(self, exited: asyncio.Event) -> bool:
        """Wait for `exited` until the kill is due, as it is by then; False means that it is due."""
        timeout = asyncio.timeout_at(self._kill_at)
        try:
            async with timeout:
                self._running.add(timeout)
                await exited.wait()
        except TimeoutError:
            return False
        finally:
            self._running.discard(timeout)
        return True


class StopSchedules:
    """Stops under way, by container id."""

    def __init__(self) -> None:
        self._schedules: dict[str, StopSchedule] = {}

    def get(self, container_id: str) -> StopSchedule | None:
        """The stop under way for a container, if any."""
        return self._schedules.get(container_id)

    def begin(self, container_id: str, kill_at: float) -> StopSchedule:
        """Note that a stop has begun."""
        schedule = self._schedules[container_id] = StopSchedule(kill_at)
        return schedule

    def end(self, container_id: str) -> None:
        """The container has ended."""
        self._schedules.pop(container_id, None)
