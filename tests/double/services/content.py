"""Blobs and ingests. Write is a conversation in lock-step, with the daemon's traps kept:

- a request at offset 0 truncates an ingest that has data, COMMIT included;
- the ref is locked for the length of the stream, a second writer waits a moment, then gets UNAVAILABLE;
- the last response is repeated when the stream ends well;
- a failed commit leaves the ingest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf import empty_pb2

from api.wire.containerd import content_pb2, content_pb2_grpc, event_types_pb2
from tests.double.calls import Context, caller
from tests.double.exchange import Exchange
from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import (
    Refusal,
    already_exists,
    failed_precondition,
    found,
    invalid_argument,
    not_found,
    unavailable,
    unknown,
)
from tests.double.services.leases import lease_to_caller, unlease_from_caller
from tests.double.state import (
    Blob,
    Ingest,
    Namespace,
    State,
    now,
    stored_labels,
    timestamp,
    update_labels,
)

READ_BLOCK = 32768
LIST_BLOCK = 100
LOCK_ATTEMPTS = 8
"""Pauses of 1, 2, 4, ... ms while the ref is locked."""


class ContentService(content_pb2_grpc.ContentServicer):
    """containerd.services.content.v1.Content"""

    def __init__(self, state: State, exchange: Exchange) -> None:
        self._state = state
        self._exchange = exchange

    async def Info(self, request: content_pb2.InfoRequest, context: Context) -> content_pb2.InfoResponse:
        return content_pb2.InfoResponse(info=self._find(request.digest).info)

    async def Update(
        self, request: content_pb2.UpdateRequest, context: Context
    ) -> content_pb2.UpdateResponse:
        info = self._find(request.info.digest).info
        paths = list(request.update_mask.paths) or ["labels"]
        for path in update_labels(info.labels, request.info.labels, paths, "info.Labels"):
            raise invalid_argument(f'cannot update "{path}" field on content info "{info.digest}"')
        info.updated_at.CopyFrom(timestamp(now()))
        return content_pb2.UpdateResponse(info=info)

    async def List(
        self, request: content_pb2.ListContentRequest, context: Context
    ) -> AsyncIterator[content_pb2.ListContentResponse]:
        matches = compile_filters(request.filters)
        infos = [
            blob.info
            for _, blob in sorted(self._namespace().blobs.items())
            if matches(
                lookup_in(
                    {
                        "digest": blob.info.digest,
                        "size": str(blob.info.size),
                        "labels": blob.info.labels,
                    }
                )
            )
        ]
        for start in range(0, len(infos), LIST_BLOCK):
            yield content_pb2.ListContentResponse(info=infos[start : start + LIST_BLOCK])

    async def Delete(self, request: content_pb2.DeleteContentRequest, context: Context) -> empty_pb2.Empty:
        self._find(request.digest)
        namespace = self._namespace()
        del namespace.blobs[request.digest]
        unlease_from_caller(namespace, "content", request.digest)
        self._exchange.publish(
            namespace.name, "/content/delete", event_types_pb2.ContentDelete(digest=request.digest)
        )
        return empty_pb2.Empty()

    async def Read(
        self, request: content_pb2.ReadContentRequest, context: Context
    ) -> AsyncIterator[content_pb2.ReadContentResponse]:
        data = self._find(request.digest).data
        start = max(request.offset, 0)
        if start > len(data):
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, f"read past object length {len(data)} bytes")
        end = min(start + request.size, len(data)) if request.size > 0 else len(data)
        for offset in range(start, end, READ_BLOCK):
            yield content_pb2.ReadContentResponse(
                offset=offset, data=data[offset : min(offset + READ_BLOCK, end)]
            )

    async def Status(
        self, request: content_pb2.StatusRequest, context: Context
    ) -> content_pb2.StatusResponse:
        ingest = found(self._namespace().ingests.get(request.ref), f"reference {request.ref}")
        return content_pb2.StatusResponse(status=_status(ingest))

    async def ListStatuses(
        self, request: content_pb2.ListStatusesRequest, context: Context
    ) -> content_pb2.ListStatusesResponse:
        matches = compile_filters(request.filters)
        return content_pb2.ListStatusesResponse(
            statuses=[
                _status(ingest)
                for ref, ingest in sorted(self._namespace().ingests.items())
                if matches(lookup_in({"ref": ref}))
            ]
        )

    async def Abort(self, request: content_pb2.AbortRequest, context: Context) -> empty_pb2.Empty:
        namespace = self._namespace()
        if namespace.ingests.pop(request.ref, None) is None:
            raise not_found(f"reference {request.ref}")
        unlease_from_caller(namespace, "ingests", request.ref)
        return empty_pb2.Empty()

    async def Write(
        self, request_iterator: AsyncIterator[content_pb2.WriteContentRequest], context: Context
    ) -> AsyncIterator[content_pb2.WriteContentResponse]:
        request = await anext(request_iterator, None)
        if request is None:
            return
        if not request.ref:
            raise invalid_argument("first message must have a reference")
        ingest = await self._open(request)
        session = _Session(self._state, self._namespace(), ingest)
        try:
            while request is not None:
                answer = session.answer(request)
                yield answer
                if request.action == content_pb2.COMMIT:
                    break
                request = await anext(request_iterator, None)
            yield answer
        finally:
            ingest.locked = False

    async def _open(self, request: content_pb2.WriteContentRequest) -> Ingest:
        """The ingest, new or resumed, locked for the caller."""
        namespace = self._namespace()
        shared = ""
        if request.expected:
            if request.expected in namespace.blobs:
                lease_to_caller(namespace, "content", request.expected)
                raise already_exists(f"content {request.expected}")
            shared = self._of_other_namespaces(request.expected, request.total)
        ingest = namespace.ingests.get(request.ref)
        if ingest is not None:
            await _wait_for_lock(namespace, ingest)
            if request.total and ingest.total and request.total != ingest.total:
                raise unknown(f"provided total differs from status: {request.total} != {ingest.total}")
        leased = lease_to_caller(namespace, "ingests", request.ref)
        if ingest is None:
            ingest = Ingest(request.ref, request.total, now(), now(), leased, shared=shared)
            namespace.ingests[request.ref] = ingest
        ingest.leased = ingest.leased or leased
        ingest.locked = True
        return ingest

    def _of_other_namespaces(self, digest: str, size: int) -> str:
        """The digest, if another namespace has that blob and it may be shared."""
        for namespace in self._state.namespaces.values():
            blob = namespace.blobs.get(digest)
            if blob is not None and size in (0, len(blob.data)):
                return digest
        return ""

    def _namespace(self) -> Namespace:
        return self._state.namespace(caller().namespace)

    def _find(self, digest: str) -> Blob:
        return found(self._namespace().blobs.get(digest), f"content digest {digest}")


class _Session:
    """One Write stream over a locked ingest."""

    def __init__(self, state: State, namespace: Namespace, ingest: Ingest) -> None:
        self._state = state
        self._namespace = namespace
        self._ingest = ingest
        self._total = 0
        self._expected = ""

    def answer(self, request: content_pb2.WriteContentRequest) -> content_pb2.WriteContentResponse:
        """Do what one request says. Raises Refusal, which ends the stream."""
        ingest = self._ingest
        self._note_expectations(request)
        if request.action == content_pb2.STAT:
            return content_pb2.WriteContentResponse(
                action=request.action,
                offset=self._offset,
                total=self._total,
                digest=self._digest,
                started_at=timestamp(ingest.started_at),
                updated_at=timestamp(ingest.updated_at),
            )
        self._append(request)
        if request.action == content_pb2.COMMIT:
            self._commit(request)
        return content_pb2.WriteContentResponse(
            action=request.action, offset=self._offset, digest=self._digest
        )

    @property
    def _offset(self) -> int:
        return len(self._shared_data) if self._ingest.shared else len(self._ingest.data)

    @property
    def _digest(self) -> str:
        return self._ingest.shared or self._ingest.digest

    @property
    def _shared_data(self) -> bytes:
        return next(
            namespace.blobs[self._ingest.shared].data
            for namespace in self._state.namespaces.values()
            if self._ingest.shared in namespace.blobs
        )

    def _note_expectations(self, request: content_pb2.WriteContentRequest) -> None:
        self._total = request.total or self._total
        if not request.expected:
            return
        self._expected = request.expected
        if request.expected in self._namespace.blobs:
            self._drop()
            raise already_exists(f"blob with expected digest {request.expected} exists")

    def _append(self, request: content_pb2.WriteContentRequest) -> None:
        ingest = self._ingest
        if request.offset > 0 and request.offset != self._offset:
            raise Refusal(
                grpc.StatusCode.OUT_OF_RANGE,
                f"write @{request.offset} must occur at current offset {self._offset}",
            )
        if request.offset == 0 and self._offset > 0:
            ingest.shared = ""
            ingest.clear()
        if request.data:
            if ingest.shared:
                ingest.append(self._shared_data)
                ingest.shared = ""
            ingest.append(request.data)

    def _commit(self, request: content_pb2.WriteContentRequest) -> None:
        ingest, digest = self._ingest, self._digest
        labels = stored_labels(request.labels, "info.Labels")
        if self._total and self._total != self._offset:
            raise failed_precondition(
                f'"{ingest.ref}" failed size validation: {self._offset} != {self._total}'
            )
        if self._expected and self._expected != digest:
            raise failed_precondition(f"unexpected commit digest {digest}, expected {self._expected}")
        data = self._shared_data if ingest.shared else bytes(ingest.data)
        self._drop()
        lease_to_caller(self._namespace, "content", digest)
        if digest in self._namespace.blobs:
            raise already_exists(f"content {digest}")
        info = content_pb2.Info(digest=digest, size=len(data), created_at=timestamp(now()), labels=labels)
        info.updated_at.CopyFrom(info.created_at)
        self._namespace.blobs[digest] = Blob(info, data)

    def _drop(self) -> None:
        self._namespace.ingests.pop(self._ingest.ref, None)
        unlease_from_caller(self._namespace, "ingests", self._ingest.ref)


async def _wait_for_lock(namespace: Namespace, ingest: Ingest) -> None:
    for attempt in range(LOCK_ATTEMPTS):
        if not ingest.locked:
            return
        await asyncio.sleep((1 << attempt) / 1000)
    raise unavailable(f"ref {namespace.name}/1/{ingest.ref} locked for a while")


def _status(ingest: Ingest) -> content_pb2.Status:
    return content_pb2.Status(
        ref=ingest.ref,
        offset=len(ingest.data),
        total=ingest.total,
        started_at=timestamp(ingest.started_at),
        updated_at=timestamp(ingest.updated_at),
    )
