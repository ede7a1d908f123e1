"""Writer: one ingest being filled, over one Content.Write stream.

The stream is a conversation in lock-step: each request (STAT, WRITE, COMMIT) has one response, and an error
ends it. Offsets have a trap: a request at offset 0 while the ingest has data means "start again", for COMMIT
as well, so every request here carries the offset it believes in, and a wrong belief is OutOfRange. The ref is
locked until the daemon has seen the stream's end; therefore leaving waits for that end, so that the ref is
free for the next writer, except when the task is being cancelled, where nothing may take time.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio

from api.containerd.calls import Link, being_cancelled
from api.containerd.errors import AlreadyExists, DataLoss
from api.wire.containerd import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

WRITE_BYTES = 8 << 20
"""Largest piece of data in one message, half of the message limit; the same as the Go client's."""

LEAVING_SECONDS = 5.0
"""How long leaving waits for the daemon to end the stream before it is cut."""

WriteCall = grpc.aio.StreamStreamMultiCallable[
    content_pb2.WriteContentRequest, content_pb2.WriteContentResponse
]


class Writer:
    """Fills one ingest; made by `Content.writer`. Not for use by several tasks at once."""

    def __init__(self, link: Link, method: WriteCall, ref: str) -> None:
        self.ref = ref
        self.offset = 0
        """Bytes in the ingest; the next write goes here."""
        self._link = link
        self._method = method
        self._digest = ""
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

    async def write(self, data: bytes) -> None:
        """Append. Blocks of about 1 MiB are best: each message is a round trip."""
        for start in range(0, len(data), WRITE_BYTES):
            await self._exchange(
                content_pb2.WriteContentRequest(
                    action=content_pb2.WRITE,
                    ref=self.ref,
                    offset=self.offset,
                    data=data if len(data) <= WRITE_BYTES else data[start : start + WRITE_BYTES],
                )
            )

    async def truncate(self) -> None:
        """Throw away what the ingest has, to start again at 0."""
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
        try:
            await self._send(request)
            answer = await self._call.read()
        except grpc.aio.AioRpcError as status:
            raise self._link.error("Content", "Write", status) from None
        except asyncio.CancelledError as error:
            if self._link.closed and not being_cancelled():
                raise self._link.broken("Content", "Write") from error
            raise
        if not isinstance(answer, content_pb2.WriteContentResponse):
            raise DataLoss(
                f"containerd ended the write of {self.ref!r} without an answer",
                service="Content",
                method="Write",
            )
        expected_offset = self.offset + len(request.data)
        self.offset, self._digest = answer.offset, answer.digest
        if request.data and answer.offset != expected_offset:
            raise DataLoss(
                f"containerd has {answer.offset} bytes of {self.ref!r}, {expected_offset} were written",
                service="Content",
                method="Write",
            )
        return answer

    async def _send(self, request: content_pb2.WriteContentRequest) -> None:
        try:
            await self._call.write(request)
        except asyncio.InvalidStateError:
            # The daemon ended the stream while we were sending; reading tells why.
            return

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
