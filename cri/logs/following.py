"""What the keeper follows: containers by id, their streams by descriptor, and the requests that change this.

Knows no sockets: a request that cannot be fulfilled is a RefusedError, with the kind and text for the client.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, NamedTuple

from cri.logs import protocol
from cri.logs.format import Timestamps
from cri.logs.pump import BlockReader, Output, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.logs.values import Counters, WireFollowed


class RefusedError(Exception):
    """A request that cannot be fulfilled."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class _Entry(NamedTuple):
    followed: WireFollowed
    output: Output


class Source(NamedTuple):
    """One stream that epoll watches."""

    container: str
    output: Output
    stream: Stream


class Following:
    """The table of followed containers; their streams are in the given epoll set as long as they are open."""

    def __init__(self, poll: select.epoll, on_finished: Callable[[str], None]) -> None:
        """`on_finished(container)` hears of every container whose output has ended or was released."""
        self.sources: dict[int, Source] = {}
        self._entries: dict[str, _Entry] = {}
        self._poll = poll
        self._on_finished = on_finished
        self._reader = BlockReader()
        self._stamps = Timestamps()

    def output(self, container: str) -> Output:
        """The output of a followed container. Raises RefusedError."""
        entry = self._entries.get(container)
        if entry is None:
            raise RefusedError(protocol.UNKNOWN_CONTAINER, f"container {container} is not followed")
        return entry.output

    def finished(self, container: str) -> bool:
        """All of it is written; also true of what is not followed."""
        entry = self._entries.get(container)
        return entry is None or entry.output.finished

    def follow(self, followed: WireFollowed, *, log_may_fail: bool) -> None:
        """Open all ends or none, idempotent. Raises RefusedError.

        With `log_may_fail` a log that cannot be opened is tried again later and its records count as lost:
        right for a container that runs already and must not block.
        """
        container = followed["container"]
        if container in self._entries:
            if _paths(self._entries[container].followed) != _paths(followed):
                raise RefusedError(protocol.CONFLICT, f"container {container} is followed with other paths")
            return
        try:
            output = Output(followed)
        except OSError as error:
            raise _cannot_open("output", container, error) from None
        try:
            output.log.open()
        except OSError as error:
            if not log_may_fail:
                output.close()
                raise _cannot_open("log", container, error) from None
        self._entries[container] = _Entry(followed, output)
        for stream in output.streams:
            self.sources[stream.descriptor] = Source(container, output, stream)
            self._poll.register(stream.descriptor, select.EPOLLIN)

    def move(self, source: Source) -> int:
        """Move one block of a stream that epoll reported; answers its size."""
        descriptor = source.stream.descriptor
        if self.sources.get(descriptor) is not source:  # released since epoll reported it
            return 0
        moved = source.output.step(source.stream, self._reader, self._stamps)
        if source.stream.ended:
            del self.sources[descriptor]  # closing took it out of the epoll set
            if source.output.finished:
                self._on_finished(source.container)
        return moved

    def reopen(self, container: str) -> None:
        """Open the log path anew. Raises RefusedError, then the old file stays in use."""
        try:
            self.output(container).log.open()
        except OSError as error:
            raise _cannot_open("log", container, error) from None

    def nudge(self, container: str) -> None:
        """Find out whether any writer is left; the ends are reported by epoll."""
        for stream in self.output(container).streams:
            if not stream.ended:
                stream.nudge()

    def release(self, container: str) -> Counters | None:
        """Write what is in the FIFOs, close everything, forget the container; answers its last figures."""
        entry = self._entries.pop(container, None)
        if entry is None:
            return None
        for stream in entry.output.streams:
            self.sources.pop(stream.descriptor, None)
        entry.output.release(self._reader, self._stamps)
        self._on_finished(container)
        return entry.output.counters()

    def nudge_all(self) -> None:
        """`nudge` every container."""
        for container in self._entries:
            self.nudge(container)

    def release_all(self) -> None:
        """Release every container."""
        for container in list(self._entries):
            self.release(container)

    def counters(self, container: str | None = None) -> dict[str, Counters]:
        """The figures of every container, or of one if it is followed."""
        wanted = self._entries if container is None else self._entries.keys() & {container}
        return {each: self._entries[each].output.counters() for each in wanted}


def _paths(followed: WireFollowed) -> tuple[str, str | None, str | None]:
    return followed["stdout"], followed["stderr"], followed["log_path"]


def _cannot_open(what: str, container: str, error: OSError) -> RefusedError:
    text = f"cannot open the {what} of container {container}, {error.filename}: {error.strerror}"
    return RefusedError(protocol.CANNOT_OPEN, text)
