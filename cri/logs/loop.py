"""The keeper's loop: one thread, one epoll set, everything served in rounds.

A round serves first the sockets, so that requests never queue behind output, then every FIFO that has data
with one block each, so that a flood from one container takes its turn like everybody else.

When little came in a round right after another, the loop rests before it looks at the FIFOs again: a
container that writes line by line would otherwise cost a wake-up for every line. The pipes are deep enough
for that moment, a request ends it at once, and the first output after a pause is never delayed.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Final, cast

from cri.logs import protocol
from cri.logs.complaints import complain
from cri.logs.connection import Connection, peer_user
from cri.logs.following import Following, RefusedError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from cri.logs.values import WireFollowed

_LITTLE_BYTES: Final = 16 * 1024
_REST_SECONDS: Final = 0.002
_SHORTLY_SECONDS: Final = 0.003
_ORPHAN_CHECK_SECONDS: Final = 30.0
_NO_DESCRIPTOR_SECONDS: Final = 0.01

_LATER: Final = object()
"""What a verb returns that answers by itself."""


class Keeper:
    """Serves one listening socket until it is told to shut down."""

    def __init__(self, listener: socket.socket, path: str, wake: socket.socket) -> None:
        """`path` is the listener's; `wake` becomes readable when a signal asks to end."""
        self._listener = listener
        self._path = path
        self._identity = _identity(path)
        self._instance = f"{os.getpid()}-{time.time_ns()}"
        self._wake = wake
        self._poll = select.epoll()
        self._sockets = select.epoll()  # without the FIFOs, to rest until a request comes
        for always in (listener, wake):
            self._poll.register(always, select.EPOLLIN)
            self._sockets.register(always, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._listening: dict[Connection, str] = {}
        self._drain_waiters: dict[str, list[tuple[Connection, object]]] = {}
        self._following = Following(self._poll, self._finished)
        self._ending = False
        self._verbs: dict[str, Callable[[Connection, protocol.Message], object]] = {
            "follow": self._follow,
            "reopen": lambda _, message: self._following.reopen(_container(message)),
            "release": lambda _, message: self._following.release(_container(message)),
            "drained": self._drained,
            "statistics": lambda _, message: self._following.counters(
                cast("str | None", message.get("container"))
            ),
            "subscribe": self._subscribe,
            "shutdown": self._shutdown,
        }

    def run(self) -> None:
        """Serve until shutdown; then every log is flushed and every descriptor closed."""
        began = 0.0
        while not self._ending:
            events = self._poll.poll(_ORPHAN_CHECK_SECONDS)
            if not events and self._orphaned():
                break
            previous, began = began, time.monotonic()
            moved = self._round(events)
            if 0 < moved < _LITTLE_BYTES and began - previous < _SHORTLY_SECONDS:
                self._sockets.poll(_REST_SECONDS)
        self._close()

    def _round(self, events: list[tuple[int, int]]) -> int:
        # Looked up before any request is served: one may close a FIFO and open another with the same number,
        # and reading from a FIFO that reported nothing would take the missing writer for the end.
        known = self._following.sources
        ready = [known[descriptor] for descriptor, _ in events if descriptor in known]
        for descriptor, event in events:
            if descriptor in self._connections:
                self._serve(self._connections[descriptor], event)
            elif descriptor == self._listener.fileno():
                self._accept()
            elif descriptor == self._wake.fileno():
                self._ending = True
        moved = sum(self._following.move(source) for source in ready)
        for listener in list(self._listening):
            self._settle(listener)
        return moved

    def _finished(self, container: str) -> None:
        for connection, seq in self._drain_waiters.pop(container, ()):
            connection.answer({"seq": seq, "result": True})
            self._settle(connection)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # descriptors ran out: the containers must go on, and we must not spin
            time.sleep(_NO_DESCRIPTOR_SECONDS)
            return
        if peer_user(client) not in (0, os.geteuid()):
            client.close()
            return
        connection = Connection(client)
        self._connections[client.fileno()] = connection
        self._poll.register(client, select.EPOLLIN)
        self._sockets.register(client, select.EPOLLIN)
        connection.answer(
            {
                "hello": protocol.VERSION,
                "revision": protocol.REVISION,
                "instance": self._instance,
                "pid": os.getpid(),
            }
        )
        self._settle(connection)

    def _serve(self, connection: Connection, event: int) -> None:
        if event & select.EPOLLOUT:
            connection.flush()
        if event & ~select.EPOLLOUT:
            try:
                for kind, payload in connection.decoder.feed(connection.receive()):
                    if kind == protocol.MESSAGE:
                        self._request(connection, protocol.decode(payload))
            except protocol.ProtocolError as error:
                complain(f"dropping a client: {error}")
                connection.broken = True
        self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        """After anything was sent or received: hang up on a broken connection, watch for room if some waits."""
        descriptor = connection.client.fileno()
        if descriptor < 0:
            return
        if connection.broken:
            self._hang_up(connection)
        else:
            room = select.EPOLLOUT if connection.waiting else 0
            self._poll.modify(descriptor, select.EPOLLIN | room)

    def _hang_up(self, connection: Connection) -> None:
        self._unlisten(connection)
        del self._connections[connection.client.fileno()]
        connection.client.close()

    def _unlisten(self, connection: Connection) -> None:
        container = self._listening.pop(connection, None)
        if container is not None and not self._following.finished(container):
            self._following.output(container).drop(connection)

    def _request(self, connection: Connection, message: protocol.Message) -> None:
        seq, verb = message.get("seq"), message.get("do")
        act = self._verbs.get(verb) if isinstance(verb, str) else None
        try:
            if act is None:
                raise RefusedError(protocol.UNSUPPORTED, f"this log keeper knows no {verb!r}")
            result = act(connection, message)
        except RefusedError as refusal:
            connection.answer({"seq": seq, "error": refusal.kind, "text": refusal.text})
        except (KeyError, TypeError, ValueError) as error:
            connection.answer({"seq": seq, "error": protocol.MALFORMED, "text": repr(error)})
        else:
            if result is not _LATER:
                connection.answer({"seq": seq, "result": result})

    def _follow(self, _: Connection, message: protocol.Message) -> object:
        followed = cast("WireFollowed", message["followed"])
        if message.get("anew"):
            self._following.release(followed["container"])
        self._following.follow(followed, log_may_fail=bool(message.get("again")))
        return None

    def _drained(self, connection: Connection, message: protocol.Message) -> object:
        """Answered once all is written, however long that takes; a client that gives up just does not listen."""
        container = _container(message)
        if self._following.finished(container):
            return True
        self._following.nudge(container)
        self._drain_waiters.setdefault(container, []).append((connection, message.get("seq")))
        return _LATER

    def _subscribe(self, connection: Connection, message: protocol.Message) -> object:
        container = _container(message)
        output = self._following.output(container)
        connection.answer({"seq": message.get("seq"), "result": None})
        if output.finished:
            connection.end()
        else:
            output.listeners.append(connection)
            self._listening[connection] = container
        return _LATER

    def _shutdown(self, _: Connection, __: protocol.Message) -> object:
        self._ending = True
        return None

    def _orphaned(self) -> bool:
        """Nobody can reach us any more (the state directory was removed) and no container writes any more."""
        if self._connections or _identity(self._path) == self._identity:
            return False
        self._following.nudge_all()  # ends what no writer has open; the next check finds it gone
        return not self._following.sources

    def _close(self) -> None:
        if _identity(self._path) == self._identity:
            os.unlink(self._path)
        self._listener.close()
        self._following.release_all()
        for connection in self._connections.values():
            connection.client.close()
        self._sockets.close()
        self._poll.close()


def _container(message: protocol.Message) -> str:
    return cast("str", message["container"])


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
