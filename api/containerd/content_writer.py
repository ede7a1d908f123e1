"""Writer: one ingest being filled, over one Content.Write stream.

The stream is a conversation: each request (STAT, WRITE, COMMIT) has one response, in order, and an error ends it.
The daemon need not be idle while a response and the next request travel, so one WRITE may be under way while the
next is handed over; its failure then shows at the next step. Offsets have a trap: a request at offset 0 while the
ingest has data means "start again", for COMMIT as well, so every request here carries the offset it believes in,
and a wrong belief is OutOfRange. The ref is locked until the daemon has seen the stream's end; therefore leaving
waits for that end, so that the ref is free for the next writer, except when the task is being cancelled, where
nothing may take time.

Bytes in bulk are what this is for, so a WRITE is put together by hand: its parts are copied once, into the
message, where protobuf would have them joined, copied into its own memory and copied out again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio

from api.containerd.calls import Link, being_cancelled
from api.containerd.errors import AlreadyExists, DataLoss
from api.wire.containerd import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

WRITE_BYTES = 8 << 20
"""Largest piece of data in one message, half of the message limit; the same as the Go client's."""

UNANSWERED = 1
"""Writes that may be without an answer when `Writer.write` returns."""

LEAVING_SECONDS = 5.0
"""How long leaving waits for the daemon to end the stream before it is cut."""

WriteCall = grpc.aio.StreamStreamMultiCallable[
    content_pb2.WriteContentRequest | bytes, content_pb2.WriteContentResponse
]
"""Content.Write, whose requests may come as messages or as the bytes of one."""

_METHOD = "/containerd.services.content.v1.Content/Write"
_DATA_TAG = content_pb2.WriteContentRequest.DATA_FIELD_NUMBER << 3 | 2


class Writer:
    """Fills one ingest; made by `Content.writer`. Not for use by several tasks at once."""

    def __init__(self, link: Link, method: WriteCall, ref: str) -> None:
        self.ref = ref
        self.offset = 0
        """Bytes in the ingest or on their way there; the next write goes here."""
        self._link = link
        self._method = method
        self._digest = ""
        self._unanswered: deque[int] = deque()
        """Where the ingest will stand after each write that has no answer yet."""
        self._began = time.perf_counter()

    async def __aenter__(self) -> Self:
        try:
            self._call = self._method(metadata=self._link.metadata)
        except grpc.aio.UsageError as error:
            raise self._link.broken("Content", "Write") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = "CANCELLED"
        try:
            if not isinstance(error, asyncio.CancelledError):
                code = await self._end()
        finally:
            self._call.cancel()
            self._link.finished("Content", "Write", code, self._began)

    async def open(self, total: int, expected: str) -> None:
        """Take up the ref, announcing size and digest where known (0 and "" where not)."""
        await self._exchange(
            content_pb2.WriteContentRequest(
                action=content_pb2.STAT, ref=self.ref, total=total, expected=expected
            )
        )

    async def write(self, *parts: bytes) -> None:
        """Append the parts. Several MiB at once are best: each message is a round trip, and costs the daemon by number.

        The answer may still be outstanding on return: a failure of this write is then raised by the next step.
        """
        for message in _messages(parts):
            size = sum(map(len, message))
            await self._send(_write_request(self.ref, self.offset, size, message))
            self.offset += size
            self._unanswered.append(self.offset)
            await self._settle(UNANSWERED)

    async def truncate(self) -> None:
        """Throw away what the ingest has, to start again at 0."""
        await self._settle(0)
        self.offset = 0
        await self._exchange(
            content_pb2.WriteContentRequest(action=content_pb2.WRITE, ref=self.ref, offset=0)
        )

    async def commit(
        self,
        *,
        size: int = 0,
        expected: str = "",
        labels: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> str:
        """Append `data`, check size and digest (0 and "" are not checked), make the blob, return its digest.

        That the blob is there already is a success. Raises FailedPrecondition on a mismatch, after which the
        ingest is still there with what was written: abort it, or truncate it in another writer.
        """
        await self._settle(0)
        try:
            answer = await self._exchange(
                content_pb2.WriteContentRequest(
                    action=content_pb2.COMMIT,
                    ref=self.ref,
                    offset=self.offset,
                    total=size,
                    expected=expected,
                    labels=labels or {},
                    data=data,
                )
            )
        except AlreadyExists:
            return expected or self._digest
        return answer.digest

    async def _exchange(self, request: content_pb2.WriteContentRequest) -> content_pb2.WriteContentResponse:
        """Ask and wait for the answer, after which the ingest stands where the daemon says."""
        await self._send(request)
        answer = await self._answer()
        expected_offset = self.offset + len(request.data)
        self.offset = answer.offset
        if request.data:
            self._check(answer, expected_offset)
        return answer

    async def _settle(self, unanswered: int) -> None:
        """Wait for the answers to all but the last `unanswered` writes."""
        while len(self._unanswered) > unanswered:
            self._check(await self._answer(), self._unanswered.popleft())

    def _check(self, answer: content_pb2.WriteContentResponse, expected_offset: int) -> None:
        if answer.offset != expected_offset:
            raise DataLoss(
                f"containerd has {answer.offset} bytes of {self.ref!r}, {expected_offset} were written",
                service="Content",
                method="Write",
            )

    async def _answer(self) -> content_pb2.WriteContentResponse:
        try:
            answer = await self._call.read()
        except grpc.aio.AioRpcError as status:
            raise self._link.error("Content", "Write", status) from None
        except asyncio.CancelledError as error:
            raise self._cancelled(error) from None
        if not isinstance(answer, content_pb2.WriteContentResponse):
            raise DataLoss(
                f"containerd ended the write of {self.ref!r} without an answer",
                service="Content",
                method="Write",
            )
        self._digest = answer.digest
        return answer

    async def _send(self, request: content_pb2.WriteContentRequest | bytes) -> None:
        try:
            await self._call.write(request)
        except asyncio.InvalidStateError:
            # The daemon ended the stream while we were sending; reading tells why.
            return
        except grpc.aio.AioRpcError as status:
            raise self._link.error("Content", "Write", status) from None
        except asyncio.CancelledError as error:
            raise self._cancelled(error) from None

    def _cancelled(self, error: asyncio.CancelledError) -> BaseException:
        """What a cancelled call means: our own task's cancellation, or that the client was closed."""
        if self._link.closed and not being_cancelled():
            return self._link.broken("Content", "Write")
        return error

    async def _end(self) -> str:
        """Say that nothing more comes and wait until the daemon has let the ref go; the call's code."""
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                if not self._call.done():
                    await self._call.done_writing()
                # The daemon repeats its last response on the way out; until that is read there is no status.
                while isinstance(await self._call.read(), content_pb2.WriteContentResponse):
                    pass
                return (await self._call.code()).name
        except grpc.aio.AioRpcError as status:
            return status.code().name
        except (TimeoutError, asyncio.InvalidStateError):
            return "CANCELLED"


def write_call(channel: grpc.aio.Channel) -> WriteCall:
    """The method on a channel, in the place of the generated stub's, which takes messages only."""
    return channel.stream_stream(
        _METHOD,
        request_serializer=lambda request: (
            request if isinstance(request, bytes) else request.SerializeToString()
        ),
        response_deserializer=content_pb2.WriteContentResponse.FromString,
    )


def _messages(parts: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The parts, regrouped so that no message has more than WRITE_BYTES, and none is empty."""
    if 0 < sum(map(len, parts)) <= WRITE_BYTES:
        yield parts
        return
    whole = b"".join(parts)
    for start in range(0, len(whole), WRITE_BYTES):
        yield (whole[start : start + WRITE_BYTES],)


def _write_request(ref: str, offset: int, size: int, parts: Sequence[bytes]) -> bytes:
    """A WRITE request on the wire; protobuf allows fields in any order, so the data comes last."""
    head = content_pb2.WriteContentRequest(action=content_pb2.WRITE, ref=ref, offset=offset)
    return b"".join((head.SerializeToString(), bytes((_DATA_TAG,)), _varint(size), *parts))


def _varint(number: int) -> bytes:
    """Protobuf's encoding of an unsigned number (encoding, "Base 128 Varints")."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
