"""Live output of a container for somebody who is attached to it: one connection to the log keeper each."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import Final, Literal, Self, cast

from cri.errors import Unavailable
from cri.logs import protocol
from cri.logs.calls import answered_error, dial

StreamName = Literal["stdout", "stderr"]

_BLOCK_BYTES: Final = 512 * 1024
_NAMES: Final[dict[int, StreamName]] = {protocol.STDOUT: "stdout", protocol.STDERR: "stderr"}


class Subscription:
    """Iterate to get `(stream, bytes)` until the container's output ends.

    A subscriber that reads too slowly misses bytes (`skipped` counts them); it never delays the log. Raises
    Unavailable while iterating when the keeper dies. A cancelled iteration loses nothing and can go on.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `LogKeeper.subscribe`."""
        self.skipped = 0
        self._reader = reader
        self._writer = writer
        self._decoder = protocol.FrameDecoder()
        self._frames: collections.deque[tuple[int, bytes]] = collections.deque()
        self._ended = False

    @classmethod
    async def open(cls, path: str, container_id: str) -> Self:
        """Connect to the keeper and ask for the output. Raises NotFound or Unavailable."""
        try:
            client = await dial(path)
        except OSError as error:
            raise Unavailable(f"log keeper does not answer at {path}: {error.strerror}") from None
        subscription = cls(*await asyncio.open_unix_connection(sock=client, limit=_BLOCK_BYTES))
        try:
            await subscription._begin(container_id)
        except BaseException:
            await subscription.close()
            raise
        return subscription

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[StreamName, bytes]:
        while not self._ended:
            kind, payload = await self._frame()
            if kind in _NAMES:
                return _NAMES[kind], payload
            if kind == protocol.MESSAGE:
                message = protocol.decode(payload)
                self._ended = "end" in message
                self.skipped += cast("int", message.get("skipped", 0))
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop the delivery; idempotent."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _begin(self, container_id: str) -> None:
        if (await self._message()).get("hello") != protocol.VERSION:
            raise Unavailable("the log keeper is of another version and waits to be replaced")
        self._writer.write(protocol.encode({"seq": 1, "do": "subscribe", "container": container_id}))
        answer = await self._message()
        if "error" in answer:
            raise answered_error(answer)

    async def _message(self) -> protocol.Message:
        return protocol.decode((await self._frame())[1])

    async def _frame(self) -> tuple[int, bytes]:
        while not self._frames:
            try:
                data = await self._reader.read(_BLOCK_BYTES)
            except OSError:
                data = b""
            if not data:
                raise Unavailable("the log keeper went away while it delivered live output")
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()
