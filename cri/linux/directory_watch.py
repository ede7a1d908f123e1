"""Notices that something in a few directories may have changed. Does not look at what.

inotify tells at once, but has blind spots: a directory that does not exist cannot be watched, and one that is
replaced (renamed over, unmounted, a symbolic link turned elsewhere) takes its watch with it. So the parent is
watched as well, for that one name; while the directory is absent, its nearest existing ancestor is; and after
`longest_wait` the answer is "maybe" without any event. A burst of events counts once, after it has calmed
down, so that half-written files are rarely read (and are read again if they are).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog
from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from asyncinotify import Event

log = structlog.get_logger(__name__)

CALM_SECONDS = 0.05
"""A burst is over when nothing happened for this long, or"""
LONGEST_BURST_SECONDS = 0.5
"""at the latest after this long."""

_MASK = (
    Mask.CREATE
    | Mask.MODIFY
    | Mask.CLOSE_WRITE
    | Mask.MOVE
    | Mask.DELETE
    | Mask.ATTRIB
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
)


@dataclass(frozen=True, slots=True)
class Target:
    """A directory to watch."""

    path: Path
    identity: tuple[int, int]
    """Device and inode: another directory under the same path is another target."""
    name: str | None
    """The one entry that matters in it; None for all."""


class DirectoryWatch:
    """`async with DirectoryWatch([...]) as watch:`, then `arm`, look, and `changed`, again and again."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = tuple(directories)
        self._targets: frozenset[Target] = frozenset()
        self._inotify: Inotify | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def arm(self) -> None:
        """Watch what is there now. Call it before looking: then nothing that happens afterwards is missed."""
        targets = await asyncio.to_thread(lambda: frozenset(_targets(self._directories)))
        if targets == self._targets and self._inotify is not None:
            return
        self._close()
        try:
            self._inotify = Inotify()
            for target in targets:
                self._inotify.add_watch(target.path, _MASK)
        except OSError as error:
            self._close()
            log.warning("cannot watch directories, will look at them now and then", error=str(error))
        else:
            self._targets = targets

    async def changed(self, longest_wait: float) -> None:
        """Return when something may have changed, after `longest_wait` seconds at the latest."""
        if self._inotify is None:
            await asyncio.sleep(longest_wait)
            return
        try:
            async with asyncio.timeout(longest_wait):
                while not self._matters(await self._inotify.get()):
                    pass
            async with asyncio.timeout(LONGEST_BURST_SECONDS):
                await self._calm(self._inotify)
        except TimeoutError:
            pass

    async def _calm(self, inotify: Inotify) -> None:
        while True:
            try:
                async with asyncio.timeout(CALM_SECONDS):
                    await inotify.get()
            except TimeoutError:
                return

    def _matters(self, event: Event) -> bool:
        """Whether an event is about a watched directory itself, or about an entry that matters in it."""
        watch = event.watch
        if event.name is None or watch is None:
            return True
        entries = {target.name for target in self._targets if target.path == watch.path}
        return None in entries or event.name.name in entries

    def _close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
        self._inotify = None
        self._targets = frozenset()


def _targets(directories: Iterable[Path]) -> Iterator[Target]:
    for directory in directories:
        wanted = directory
        if identity := _identity(directory):
            yield Target(directory, identity, None)
        for ancestor in directory.parents:
            if identity := _identity(ancestor):
                yield Target(ancestor, identity, wanted.name)
                break
            wanted = ancestor


def _identity(path: Path) -> tuple[int, int] | None:
    """None if there is no directory at `path`."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if path.is_dir() else None
