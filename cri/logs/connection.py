"""One client of the log keeper, seen from the keeper: requests in, answers and live output out. Nothing waits.

What the client's socket does not take at once is queued. Answers are few and small; a client that lets them
pile up is dropped. Live output is bounded: beyond the bound whole blocks are skipped and their bytes counted,
and the client is told how many as soon as there is room again, so a stuck listener costs neither memory nor
time.
"""

from __future__ import annotations

import collections
import struct
from socket import SO_PEERCRED, SOL_SOCKET, socket
from typing import Final

from cri.logs.protocol import STREAM_KINDS, FrameDecoder, Message, encode, header

LIVE_BYTES: Final = 4 * 1024 * 1024
"""Live output that may wait for one listener."""
_ANSWER_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 64 * 1024


def peer_user(connection: socket) -> int:
    """The user ID of the process at the other end (SO_PEERCRED of unix(7))."""
    _, user, _ = struct.unpack("3i", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    return int(user)


class Connection:
    """A client's socket with its queue. `broken` means: close it."""

    def __init__(self, client: socket) -> None:
        client.setblocking(False)  # noqa: FBT003
        self.client = client
        self.decoder = FrameDecoder()
        self.broken = False
        self.skipped = 0
        """Live bytes that this listener missed since it began to listen."""
        self._told = 0
        self._queue: collections.deque[memoryview] = collections.deque()
        self._queued = 0
        self._ending = False

    @property
    def waiting(self) -> bool:
        """Something is queued: watch for room in the socket."""
        return bool(self._queue)

    def receive(self) -> bytes:
        """What the client has sent; empty with `broken` set when it has left."""
        try:
            data = self.client.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.broken = True
        return data

    def answer(self, message: Message) -> None:
        """Send a message, queued behind what is queued already."""
        self._put(encode(message))
        if self._queued > _ANSWER_BYTES:
            self.broken = True
        self.flush()

    def hear(self, stream: str, block: bytes) -> None:
        """Send live output, or skip it when too much is waiting."""
        if self._ending or self.broken:
            return
        if self._queued + len(block) > LIVE_BYTES:
            self.skipped += len(block)
            return
        self._tell_skipped()
        self._put(header(STREAM_KINDS[stream], len(block)))
        self._put(block)
        self.flush()

    def end(self) -> None:
        """Tell the listener that there is no more."""
        self._tell_skipped()
        self._ending = True
        self.answer({"end": True})

    def flush(self) -> None:
        """Send as much as the socket takes now."""
        while self._queue and not self.broken:
            first = self._queue[0]
            try:
                sent = self.client.send(first)
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                return
            self._queued -= sent
            if sent < len(first):
                self._queue[0] = first[sent:]
            else:
                self._queue.popleft()

    def _tell_skipped(self) -> None:
        if self.skipped > self._told:
            self._put(encode({"skipped": self.skipped - self._told}))
            self._told = self.skipped

    def _put(self, data: bytes) -> None:
        if data:
            self._queue.append(memoryview(data))
            self._queued += len(data)
