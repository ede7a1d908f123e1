"""A repository as seen through all of its endpoints (OCI distribution-spec, "Pull").

Endpoints are asked in their order; one that cannot be reached goes to the end of the line for the rest of the
pull, so that a mirror that is down costs one time-out and not one per blob. Only the last one in line is asked
repeatedly.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote, urlsplit

from cri.errors import FailedPrecondition
from cri.image.blob import BlobStream, check_digest_of
from cri.image.endpoint import Endpoint
from cri.image.errors import Corrupt, HostError, Interrupted, all_failed
from cri.image.exchange import MOST_ATTEMPTS, Exchange, Request
from cri.image.manifest import ACCEPTED, LARGEST_DOCUMENT
from cri.image.reference import is_digest
from cri.image.transport import read_limited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
    from types import TracebackType

    import aiohttp

    from cri.image.authorization import Authorizer
    from cri.image.manifest import BlobDescriptor
    from cri.image.reference import Reference
    from cri.image.transport import Transport

T = TypeVar("T")
CONFIG_ATTEMPTS: Final = 3
Source = tuple[Endpoint, Request]


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, index or config as it was sent, with the digest of these very bytes."""

    digest: str
    media_type: str
    body: bytes
    host: str
    """Who sent it."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a tag stands for, without the document itself (the answer to HEAD)."""

    digest: str
    host: str


class Repository:
    """One repository of one registry, for one pull."""

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        endpoints: Sequence[Endpoint],
        reference: Reference,
    ) -> None:
        self._transport = transport
        self._exchange = Exchange(transport, authorizer)
        self._endpoints = list(endpoints)
        self._reference = reference
        self._scope = f"repository:{reference.path}:pull"

    @property
    def name(self) -> str:
        """The image's normalised reference, for messages."""
        return str(self._reference)

    async def __aenter__(self) -> Self:
        """Keep the connections open; may be entered several times."""
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    def hosts_of(self, descriptor: BlobDescriptor) -> set[str]:
        """The hosts that a blob may come from."""
        return {endpoint.host for endpoint, _ in self._sources(descriptor, 0)}

    async def head(self) -> Pointer | None:
        """What the reference stands for now, by HEAD; None where no host says so (then ask `manifest`).

        Costs neither a body nor, on registries that count pulls, a pull. Failures are left for the GET that
        follows, which asks the same hosts with patience and reports.
        """
        headers = {"Accept": ACCEPTED}
        for endpoint in self._able("pull" if self._reference.digest else "resolve"):
            request = self._request(endpoint, f"/manifests/{self._reference.selector}", headers, "HEAD")
            try:
                async with await self._exchange.send(endpoint, request, attempts=1) as answer:
                    digest = answer.headers.get("Docker-Content-Digest", "")
                    return Pointer(digest, endpoint.host) if is_digest(digest) else None
            except HostError:
                continue
        return None

    async def manifest(self, selector: str, size: int = 0) -> Document:
        """The manifest or index by tag or digest (and size in bytes, if known).

        Raises what `all_failed` makes of the hosts' failures; FailedPrecondition if it is too large.
        """
        endpoints = self._able("pull" if is_digest(selector) else "resolve")
        headers = {"Accept": ACCEPTED}
        sources = [
            (endpoint, self._request(endpoint, f"/manifests/{selector}", headers)) for endpoint in endpoints
        ]

        async def read(endpoint: Endpoint, answer: aiohttp.ClientResponse) -> Document:
            async with answer:
                return await self._document(endpoint, answer, selector, size)

        return await self._first(sources, f"{self._reference}: manifest", read)

    async def config(self, descriptor: BlobDescriptor) -> Document:
        """The config blob, whole and checked; `descriptor.size` has been limited by whoever parsed it."""
        failures: list[HostError] = []
        for _ in range(CONFIG_ATTEMPTS):
            corrupt = {failure.host for failure in failures if isinstance(failure, Corrupt)}
            try:
                async with self.blob(descriptor, 0, corrupt) as blob:
                    body = b"".join([part async for block in blob for part in block])
                    check_digest_of(body, descriptor.digest, blob.host)
                    return Document(descriptor.digest, descriptor.media_type, body, blob.host)
            except (Interrupted, Corrupt) as failure:
                failures.append(failure)
        raise all_failed(f"{self._reference}: config {descriptor.digest}", failures)

    @asynccontextmanager
    async def blob(
        self, descriptor: BlobDescriptor, offset: int, distrusted: Collection[str]
    ) -> AsyncIterator[BlobStream]:
        """A blob from byte `offset` on, of the first host that has it and is not `distrusted`.

        Raises what `all_failed` makes of the hosts' failures; inside of the block, Interrupted and Corrupt.
        """

        async def opened(endpoint: Endpoint, answer: aiohttp.ClientResponse) -> BlobStream:
            return BlobStream(endpoint.host, answer, descriptor, offset)

        sources = [source for source in self._sources(descriptor, offset) if source[0].host not in distrusted]
        blob = await self._first(sources, f"{self._reference}: blob {descriptor.digest}", opened)
        async with blob:
            yield blob

    async def _first(
        self,
        sources: Sequence[Source],
        subject: str,
        read: Callable[[Endpoint, aiohttp.ClientResponse], Awaitable[T]],
    ) -> T:
        """What `read` makes of the first source that answers well."""
        failures = []
        for position, (endpoint, request) in enumerate(sources):
            attempts = MOST_ATTEMPTS if position == len(sources) - 1 else 1
            try:
                return await read(endpoint, await self._exchange.send(endpoint, request, attempts=attempts))
            except HostError as failure:
                if failure.away and endpoint in self._endpoints:
                    self._endpoints.remove(endpoint)
                    self._endpoints.append(endpoint)
                failures.append(failure)
        raise all_failed(subject, failures)

    def _sources(self, descriptor: BlobDescriptor, offset: int) -> list[Source]:
        """A foreign layer's own URLs, which are given no credentials, then the endpoints."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        sources: list[Source] = []
        for url in descriptor.urls or ():
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.hostname:
                sources.append((Endpoint(parts.scheme, parts.netloc), Request(url, "", headers=headers)))
        path = f"/blobs/{descriptor.digest}"
        sources.extend((endpoint, self._request(endpoint, path, headers)) for endpoint in self._able("pull"))
        return sources

    def _request(
        self, endpoint: Endpoint, path: str, headers: dict[str, str], method: str = "GET"
    ) -> Request:
        url = f"{endpoint.url}/{self._reference.path}{path}"
        if not endpoint.serves(self._reference.domain):
            # One mirror may serve several registries.
            url += f"?ns={quote(self._reference.domain, safe='')}"
        return Request(url, self._scope, method, headers)

    def _able(self, capability: str) -> list[Endpoint]:
        return [endpoint for endpoint in self._endpoints if capability in endpoint.capabilities]

    async def _document(
        self, endpoint: Endpoint, answer: aiohttp.ClientResponse, selector: str, size: int
    ) -> Document:
        announced = answer.content_length or 0
        body = b"" if announced > LARGEST_DOCUMENT else await read_limited(answer, LARGEST_DOCUMENT)
        if max(announced, len(body)) > LARGEST_DOCUMENT:
            raise FailedPrecondition(
                f"{self._reference}: the manifest on {endpoint.host} is larger than {LARGEST_DOCUMENT >> 20} MiB"
            )
        if size and len(body) != size:
            raise Corrupt(endpoint.host, f"it sends {len(body)} bytes of {selector} and not {size}")
        said = answer.headers.get("Docker-Content-Digest", "")
        wanted = selector if is_digest(selector) else said if is_digest(said) else ""
        digest = wanted or f"sha256:{hashlib.sha256(body).hexdigest()}"
        check_digest_of(body, digest, endpoint.host)
        return Document(digest, answer.headers.get("Content-Type", ""), body, endpoint.host)
