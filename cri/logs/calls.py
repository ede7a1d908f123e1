"""One connection to the log keeper for requests: answers matched to their callers, errors turned into ours."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import TYPE_CHECKING, Final, cast

import structlog

from cri.errors import CriError, FailedPrecondition, Internal, NotFound
from cri.logs import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

_ERRORS: Final[dict[object, type[CriError]]] = {
    protocol.UNKNOWN_CONTAINER: NotFound,
    protocol.CANNOT_OPEN: FailedPrecondition,
    protocol.CONFLICT: FailedPrecondition,
}


async def connect(path: str) -> Calls:
    """A connection that has been greeted, by a keeper of whatever version. Raises OSError when nobody answers."""
    loop = asyncio.get_running_loop()
    _, calls = await loop.create_unix_connection(Calls, sock=await dial(path))
    try:
        await calls.greet()
    except BaseException:
        calls.abort()
        raise
    return calls


async def dial(path: str) -> socket.socket:
    """A connected socket. Raises OSError."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with protocol.socket_address(path) as address:
            await asyncio.get_running_loop().sock_connect(client, address)
    except BaseException:
        client.close()
        raise
    return client


def answered_error(message: protocol.Message) -> CriError:
    """The error that an answer stands for."""
    return _ERRORS.get(message.get("error"), Internal)(f"log keeper: {message.get('text')}")


class Calls(asyncio.Protocol):
    """The requests under way on one connection; `lost` is set when it is over."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.instance: object = None
        self.version: object = None
        self.pid = 0
        self.revision = 0
        self._decoder = protocol.FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._greeted: asyncio.Future[protocol.Message] = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._numbers = itertools.count(1)

    async def greet(self) -> None:
        """Wait for the keeper's hello. Raises ConnectionError."""
        hello = await self._greeted
        self.version = hello.get("hello")
        self.instance = hello.get("instance")
        self.pid = cast("int", hello.get("pid", 0))
        self.revision = cast("int", hello.get("revision", 0))

    async def request(self, verb: str, **fields: object) -> object:
        """Ask and wait for the answer. Raises ConnectionError when the keeper is gone, or what it answers."""
        if self._transport is None or self.lost.is_set():
            raise ConnectionResetError("the log keeper is gone")
        number = next(self._numbers)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._transport.write(protocol.encode({"seq": number, "do": verb, **fields}))
            return await answer
        finally:
            del self._waiting[number]

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close and wait for it."""
        if self._transport is not None:
            self._transport.close()
        await self.lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        try:
            for kind, payload in self._decoder.feed(data):
                if kind == protocol.MESSAGE:
                    self._take(protocol.decode(payload))
        except protocol.ProtocolError as error:
            log.error("log keeper sent nonsense", error=str(error))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self.lost.set()
        for waiting in self._all_waiting():
            waiting.set_exception(ConnectionResetError("the log keeper is gone"))
            waiting.exception()  # seen, even if its caller does not look any more

    def _all_waiting(self) -> Iterator[asyncio.Future[object] | asyncio.Future[protocol.Message]]:
        if not self._greeted.done():
            yield self._greeted
        yield from (answer for answer in self._waiting.values() if not answer.done())

    def _take(self, message: protocol.Message) -> None:
        if not self._greeted.done():
            self._greeted.set_result(message)
            return
        answer = self._waiting.get(cast("int", message.get("seq")))
        if answer is None or answer.done():  # its caller has given up
            return
        if "error" in message:
            answer.set_exception(answered_error(message))
        else:
            answer.set_result(message.get("result"))
