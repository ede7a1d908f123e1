"""A registry on loopback that does as a test says: serves images, wants credentials, breaks in chosen ways.

It speaks the pull half of the OCI distribution specification, records every request, and passes each through the
`faults` that match it. A fault is a handler that answers instead, or returns None to let the request pass.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.image.made_images import Blob, TestImage

Handler = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Fault:
    pattern: str
    handler: Handler
    times: int | None = 1


@dataclass
class ScriptedRegistry:
    """`async with ScriptedRegistry() as registry:` serves at `registry.host`."""

    tls: ssl.SSLContext | None = None
    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Blob] = field(default_factory=dict)
    """By "repository:tag" and "repository@digest"."""
    ranges: bool = True
    basic: tuple[str, str] | None = None
    """User and password without which nothing is served."""
    bearer: str = ""
    """The token without which nothing is served; with `realm` in the challenge."""
    realm: str = ""
    digest_header: bool = True
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, repository: str, tag: str, image: TestImage, index: Blob | None = None) -> str:
        """Serve an image under a tag (of its own manifest or of `index`); returns its reference."""
        self.blobs.update(image.blobs)
        top = index or image.manifest
        for blob in (image.manifest, top):
            self.manifests[f"{repository}@{blob.digest}"] = blob
        if tag:
            self.manifests[f"{repository}:{tag}"] = top
        return f"{self.host}/{repository}:{tag or 'latest'}"

    def fault(self, pattern: str, handler: Handler, times: int | None = 1) -> None:
        """Give requests whose "METHOD /path" matches the shell pattern to `handler`, `times` times."""
        self.faults.append(Fault(pattern, handler, times))

    def paths(self, pattern: str = "*") -> list[str]:
        """ "METHOD /path" of the requests so far that match."""
        lines = [f"{asked.method} {asked.path}" for asked in self.asked]
        return [line for line in lines if fnmatch.fnmatchcase(line, pattern)]

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.host = f"127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(
            Asked(
                request.method,
                request.path,
                dict(request.query),
                {k.lower(): v for k, v in request.headers.items()},
            )
        )
        line = f"{request.method} {request.path}"
        for fault in self.faults:
            if fault.times != 0 and fnmatch.fnmatchcase(line, fault.pattern):
                if fault.times is not None:
                    fault.times -= 1
                answer = await fault.handler(request)
                if answer is not None:
                    return answer
                break
        return self._refused(request) or self._content(request)

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        given = request.headers.get("Authorization", "")
        if self.basic is not None:
            wanted = "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()
            if given != wanted:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        if self.bearer and given != f"Bearer {self.bearer}":
            repository = request.path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
            challenge = f'Bearer realm="{self.realm}",service="test",scope="repository:{repository}:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return None

    def _content(self, request: web.Request) -> web.StreamResponse:
        repository, _, last = request.path.removeprefix("/v2/").rpartition("/")
        repository, _, kind = repository.rpartition("/")
        if kind == "manifests":
            separator = "@" if last.startswith("sha256:") else ":"
            manifest = self.manifests.get(f"{repository}{separator}{last}")
            if manifest is not None:
                headers = {"Docker-Content-Digest": manifest.digest} if self.digest_header else {}
                headers["Content-Type"] = manifest.media_type
                return web.Response(body=manifest.data, headers=headers)
        elif kind == "blobs" and last in self.blobs:
            return ranged(request, self.blobs[last], ranges=self.ranges)
        error = {"errors": [{"code": "NAME_UNKNOWN", "message": "not known here"}]}
        return web.json_response(error, status=404)


def ranged(request: web.Request, data: bytes, *, ranges: bool = True) -> web.Response:
    """A blob, or the part of it that is asked for."""
    start = request.http_range.start if ranges and "Range" in request.headers else None
    if not start:
        return web.Response(body=data)
    headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
    return web.Response(status=206, body=data[start:], headers=headers)


def status(code: int, headers: dict[str, str] | None = None, text: str = "") -> Handler:
    """A fault that answers with a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, text=text)

    return answer


def body(data: bytes, headers: dict[str, str] | None = None) -> Handler:
    """A fault that answers with other content."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, headers=headers)

    return answer


def cut(data: bytes, after: int) -> Handler:
    """A fault that sends part of a blob (from where it is asked for) and resets the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response.content_length = len(data) - start
        await response.prepare(request)
        await response.write(data[start : start + after])
        if request.transport is not None:
            request.transport.abort()
        return response

    return answer


def stall(data: bytes, after: int, reached: asyncio.Event | None = None) -> Handler:
    """A fault that sends part of a blob and then nothing, with the connection open."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[:after])
        if reached is not None:
            reached.set()
        await asyncio.sleep(3600)
        return response

    return answer


def redirect(url: str, code: int = 307) -> Handler:
    """A fault that sends the client elsewhere."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={"Location": url})

    return answer
