"""Streams: named two-way channels of typed values beside a transfer (containerd 1.7 on)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf import any_pb2

from api.containerd import typed_value
from api.containerd.calls import Link, being_cancelled
from api.containerd.errors import ContainerdError, Unavailable
from api.wire.containerd import streaming_pb2, streaming_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.containerd.typed_value import TypedValue


class Stream:
    """One open stream."""

    def __init__(self, link: Link, call: grpc.aio.StreamStreamCall[any_pb2.Any, any_pb2.Any]) -> None:
        self._link = link
        self._call = call

    async def send(self, value: TypedValue) -> None:
        """Raises ContainerdError when the daemon has ended the stream."""
        message = any_pb2.Any(type_url=value.type_url, value=value.value)
        try:
            await self._call.write(message)
        except asyncio.InvalidStateError as error:
            raise Unavailable("containerd ended the stream", service="Streaming", method="Stream") from error
        except grpc.aio.AioRpcError as status:
            raise self._link.error("Streaming", "Stream", status) from None

    async def receive(self) -> TypedValue | None:
        """The daemon's next value; None at the end of the stream."""
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as status:
            raise self._link.error("Streaming", "Stream", status) from None
        except asyncio.CancelledError as error:
            if self._link.closed and not being_cancelled():
                raise self._link.broken("Streaming", "Stream") from error
            raise
        return typed_value.from_wire(message) if isinstance(message, any_pb2.Any) else None


class Streams:
    """The streams of one namespace."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stream = link.stub(streaming_pb2_grpc.StreamingStub).Stream

    @asynccontextmanager
    async def open(self, stream_id: str) -> AsyncIterator[Stream]:
        """A stream for the length of a block; its ID may be named in requests from the block's start on.

        Raises AlreadyExists, and Unimplemented before containerd 1.7.
        """
        began = time.perf_counter()
        call = self._stream(metadata=self._link.metadata)
        stream = Stream(self._link, call)
        code = "CANCELLED"
        try:
            await stream.send(typed_value.typed(streaming_pb2.StreamInit(id=stream_id)))
            if await stream.receive() is None:
                raise Unavailable(
                    f"containerd ended the stream {stream_id} at once", service="Streaming", method="Stream"
                )
            yield stream
            code = "OK"
        except ContainerdError as error:
            code = type(error).__name__
            raise
        finally:
            call.cancel()
            self._link.finished("Streaming", "Stream", code, began)
