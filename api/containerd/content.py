"""Content: the blobs of one namespace, by digest, and the writes under way ("ingests", by ref)."""

from __future__ import annotations

import hashlib
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from api.containerd import times
from api.containerd.calls import Link, ServerStream, Unary
from api.containerd.content_writer import Writer, write_call
from api.containerd.errors import AlreadyExists, ResourceExhausted
from api.wire.containerd import content_pb2, content_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping


class ContentExists(AlreadyExists):
    """The blob that `Content.writer` was opened for is already there (and now in the caller's lease)."""


@dataclass(frozen=True, slots=True)
class ContentInfo:
    """A blob's record."""

    digest: str
    size: int = 0
    """Bytes."""
    created_at: int = 0
    """Unix nanoseconds."""
    updated_at: int = 0
    """Unix nanoseconds."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ingest:
    """A write that was begun and not committed; it can be taken up again under its ref."""

    ref: str
    offset: int
    """Bytes written so far."""
    total: int
    """Bytes announced, or 0."""
    expected: str
    """Digest announced, or ""."""
    started_at: int
    """Unix nanoseconds."""
    updated_at: int
    """Unix nanoseconds."""


class Content:
    """The content store of one namespace.

    A blob that no label, image or lease names is removed by the next garbage collection.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        stub = link.stub(content_pb2_grpc.ContentStub)
        self._info = Unary(link, stub.Info, "Content", "Info")
        self._update = Unary(link, stub.Update, "Content", "Update")
        self._delete = Unary(link, stub.Delete, "Content", "Delete")
        self._list = ServerStream(link, stub.List, "Content", "List")
        self._read = ServerStream(link, stub.Read, "Content", "Read")
        self._status = Unary(link, stub.Status, "Content", "Status")
        self._statuses = Unary(link, stub.ListStatuses, "Content", "ListStatuses")
        self._abort = Unary(link, stub.Abort, "Content", "Abort")
        self._write = link.stub(write_call)

    async def info(self, digest: str, *, timeout: float | None = None) -> ContentInfo:
        """Raises NotFound."""
        return _info_from_wire((await self._info(content_pb2.InfoRequest(digest=digest), timeout)).info)

    async def read(
        self, digest: str, offset: int = 0, size: int = 0, *, timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on, `size` of them (0: to the end), in blocks of about 32 KiB.

        Raises NotFound, OutOfRange (offset past the end).
        """
        request = content_pb2.ReadContentRequest(digest=digest, offset=offset, size=size)
        async with aclosing(self._read(request, timeout)) as blocks:
            async for block in blocks:
                yield block.data

    async def read_all(self, digest: str, limit: int, *, timeout: float | None = None) -> bytes:
        """A whole blob of at most `limit` bytes. Raises NotFound; ResourceExhausted if it is larger."""
        content = bytearray()
        # One byte more than the limit is enough to know, however large the blob may be.
        async for block in self.read(digest, size=limit + 1, timeout=timeout):
            content += block
        if len(content) > limit:
            raise ResourceExhausted(
                f"blob {digest} is larger than {limit} bytes", service="Content", method="Read"
            )
        return bytes(content)

    @asynccontextmanager
    async def writer(self, ref: str, *, total: int = 0, expected: str = "") -> AsyncIterator[Writer]:
        """Open the ingest `ref`, new or begun earlier, and hold it for the length of the block.

        `Writer.offset` says where to go on. Leaving the block without commit keeps what was written, to be
        resumed under the same ref, until the garbage collector takes it. Raises ContentExists when `expected`
        is already there, Locked when another writer has the ref.
        """
        writer = Writer(self._link, self._write, ref)
        async with writer:
            try:
                await writer.open(total, expected)
            except AlreadyExists as error:
                raise ContentExists(
                    str(error), service=error.service, method=error.method, details=error.details
                ) from error
            yield writer

    async def put(
        self, ref: str, data: bytes, *, expected: str = "", labels: Mapping[str, str] | None = None
    ) -> str:
        """Store a small blob (8 MiB at most) with a single message and return its digest.

        An ingest left under `ref` is overwritten. That the blob is there already is a success. Raises Locked,
        and FailedPrecondition when `data` has not the digest `expected`; the ingest is then left for `abort`.
        """
        writer = Writer(self._link, self._write, ref)
        async with writer:
            return await writer.commit(
                size=len(data),
                expected=expected or f"sha256:{hashlib.sha256(data).hexdigest()}",
                labels=labels,
                data=data,
            )

    async def update(self, info: ContentInfo, *paths: str, timeout: float | None = None) -> ContentInfo:
        """Change the labels named by `paths` ("labels", "labels.KEY"); without paths all. Raises NotFound."""
        request = content_pb2.UpdateRequest(
            info=content_pb2.Info(digest=info.digest, labels=info.labels),
            update_mask=field_mask_pb2.FieldMask(paths=paths) if paths else None,
        )
        return _info_from_wire((await self._update(request, timeout)).info)

    async def delete(self, digest: str, *, timeout: float | None = None) -> None:
        """Raises NotFound."""
        await self._delete(content_pb2.DeleteContentRequest(digest=digest), timeout)

    async def status(self, ref: str, *, timeout: float | None = None) -> Ingest:
        """Raises NotFound."""
        answer = await self._status(content_pb2.StatusRequest(ref=ref), timeout)
        return _ingest_from_wire(answer.status)

    async def statuses(self, *filters: str, timeout: float | None = None) -> list[Ingest]:
        """The ingests that match any of the filters (`ref~=...`)."""
        answer = await self._statuses(content_pb2.ListStatusesRequest(filters=filters), timeout)
        return [_ingest_from_wire(status) for status in answer.statuses]

    async def abort(self, ref: str, *, timeout: float | None = None) -> None:
        """Drop an ingest. Raises NotFound."""
        await self._abort(content_pb2.AbortRequest(ref=ref), timeout)

    async def list(self, *filters: str, timeout: float | None = None) -> list[ContentInfo]:
        """The blobs that match any of the filters (`labels."key"==value`)."""
        request = content_pb2.ListContentRequest(filters=filters)
        return [_info_from_wire(info) async for block in self._list(request, timeout) for info in block.info]


def _info_from_wire(info: content_pb2.Info) -> ContentInfo:
    return ContentInfo(
        digest=info.digest,
        size=info.size,
        created_at=times.from_wire(info.created_at),
        updated_at=times.from_wire(info.updated_at),
        labels=dict(info.labels),
    )


def _ingest_from_wire(status: content_pb2.Status) -> Ingest:
    return Ingest(
        ref=status.ref,
        offset=status.offset,
        total=status.total,
        expected=status.expected,
        started_at=times.from_wire(status.started_at),
        updated_at=times.from_wire(status.updated_at),
    )
