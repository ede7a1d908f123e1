"""What every server-streaming RPC is wrapped in: the mapping of errors, and an operation where the stream has an end.

The lists as streams (KEP-5825) exist because a big node's list outgrows one gRPC message: the list is made whole at
one instant and sent in pieces, so that each item comes once. An empty list is an empty stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
import structlog

from cri.observe.stages import operation
from cri.services.errors import status_of
from cri.services.rpc import Servicer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message


S = TypeVar("S", bound=Servicer)
Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")
Method = Callable[[S, Q], AsyncIterator[A]]
Opening = Callable[[S, Q], "AbstractContextManager[AsyncIterable[A]]"]
Call = Callable[[S, Q, "grpc.aio.ServicerContext[Q, A]"], AsyncIterator[A]]
log = structlog.get_logger(__name__)

MOST_BYTES = 1 << 20
"""A piece is sent when it is as large as this, far below any client's limit."""
MOST_ITEMS = 1000


def list_stream(method: Method[S, Q, A]) -> Call[S, Q, A]:
    """Make a servicer's method of `method`, an async generator that ends when the list has been sent."""
    name = method.__name__

    async def call(self: S, request: Q, context: grpc.aio.ServicerContext[Q, A]) -> AsyncIterator[A]:
        try:
            with operation(name):
                self.on.observer.check_recovered()
                async for item in method(self, request):
                    yield item
            return
        except Exception as error:  # noqa: BLE001 - the client is told, and what is ours is logged
            code, message = _refusal(name, error)
        await context.abort(code, message)

    call.__name__ = name
    return call


def endless_stream(method: Opening[S, Q, A]) -> Call[S, Q, A]:
    """Make a servicer's method of one that opens a stream which lasts as long as the client stays.

    The client is told when the stream is open, by the call's initial metadata: from then on it misses nothing. Nobody
    waits for the end, so it is no operation.
    """
    name = method.__name__

    async def call(self: S, request: Q, context: grpc.aio.ServicerContext[Q, A]) -> AsyncIterator[A]:
        try:
            self.on.observer.check_recovered()
            with method(self, request) as items:
                await context.send_initial_metadata(())
                async for item in items:
                    yield item
            return
        except Exception as error:  # noqa: BLE001 - the client is told, and what is ours is logged
            code, message = _refusal(name, error)
        await context.abort(code, message)

    call.__name__ = name
    return call


def pieces(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """The items in order, as many together as fit a piece; `size_of` tells an item's bytes."""
    piece: list[T] = []
    size = 0
    for item in items:
        piece.append(item)
        size += size_of(item)
        if size >= MOST_BYTES or len(piece) >= MOST_ITEMS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def message_bytes(message: Message) -> int:
    """The encoded size of an item that is a message."""
    return message.ByteSize()


def _refusal(name: str, error: Exception) -> tuple[grpc.StatusCode, str]:
    code, message = status_of(error)
    if code is grpc.StatusCode.INTERNAL:
        log.error("internal error", rpc=name, exc_info=error)
    return code, message
