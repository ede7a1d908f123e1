"""What the server's signals ask for: SIGTERM and SIGINT its end, SIGHUP another look at the configuration.

SIGUSR1, which has all tasks logged, is `cri.observe.task_dump`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.observe import task_dump

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Wishes:
    """What has been asked for."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.contextmanager
def signals_heard() -> Iterator[Wishes]:
    """Turn signals into wishes for the duration of the block."""
    wishes = Wishes()
    wish_of = {signal.SIGTERM: wishes.stop, signal.SIGINT: wishes.stop, signal.SIGHUP: wishes.reload}
    loop = asyncio.get_running_loop()
    for number, wish in wish_of.items():
        loop.add_signal_handler(number, wish.set)
    remove_dump = task_dump.install(loop)
    try:
        yield wishes
    finally:
        remove_dump()
        for number in wish_of:
            loop.remove_signal_handler(number)
