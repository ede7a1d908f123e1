"""A client over a transport and a protocol: turns the protocol's bytes into I/O and its events into a stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

from cri.stream.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from cri.stream.transport import Transport

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
log = structlog.get_logger(__name__)


class LinkProtocol(Protocol[E_co]):
    """What a protocol without I/O looks like from here."""

    def receive(self, data: bytes) -> Sequence[E_co]:
        """What came of `data`. Raises ProtocolError when the connection cannot go on."""

    def take(self) -> list[bytes]:
        """What is to be sent, in order; each block is given once."""

    def close(self) -> None:
        """Say farewell."""


class Link(Generic[E]):
    """One client. Once it is gone, sending does nothing: who sends need not care."""

    def __init__(self, transport: Transport, protocol: LinkProtocol[E], first: bytes) -> None:
        """`first` is what the client sent behind its request."""
        self._transport = transport
        self._protocol = protocol
        self._first = first
        self.gone = asyncio.Event()
        """The client has left or broken its protocol."""
        transport.on_lost = self.gone.set

    async def events(self) -> AsyncIterator[E]:
        """What the client does, until it is gone."""
        data = self._first
        try:
            while True:
                for event in self._protocol.receive(data):
                    yield event
                await self.answer()
                data = await self._transport.receive()
                if not data:
                    return
        except ProtocolError as error:
            log.info("client broke the protocol", client=self._transport.peer, error=str(error))
            await self.answer()
        finally:
            self.gone.set()

    async def flush(self) -> None:
        """Send what the protocol has to say, waiting while the client is slow."""
        await self._say(self._transport.send)

    async def answer(self) -> None:
        """Send what the protocol has to say to what the client has sent, without waiting for a client that is slow.

        Whoever takes the client's bytes calls this: the client may not read before they are taken.
        """
        await self._say(self._transport.answer)

    async def _say(self, send: Callable[[list[bytes]], Awaitable[None]]) -> None:
        blocks = self._protocol.take()
        if blocks and not self._transport.lost:
            try:
                await send(blocks)
            except ConnectionResetError:
                self.gone.set()

    async def farewell(self) -> None:
        """Send the protocol's end; the connection is then for the server to close."""
        self._protocol.close()
        await self.flush()
