"""A registry in this process that fails as a test tells it to, and remembers what it was asked.

It serves built images from memory (pull side of the OCI distribution specification 1.1). Faults are functions from
a request to a response; they are asked first, and one that answers None lets the request through.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from cri.app.built_image import Blob, Image

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass(slots=True)
class ScriptedRegistry:
    """One registry; `host` is for image references, `requests` are `METHOD path` lines in order of arrival."""

    host: str = ""
    manifests: dict[str, Blob] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hold(self, repository: str, tag: str, image: Image) -> str:
        """Serve an image; returns its full reference."""
        for reference in (tag, image.manifest.digest):
            self.manifests[f"{repository}/{reference}"] = image.manifest
        self.blobs.update({blob.digest: blob for blob in image.blobs})
        return f"{self.host}/{repository}:{tag}"

    def asked_for(self, part: str) -> int:
        """How many requests had this text in their line."""
        return sum(part in line for line in self.requests)


@contextlib.asynccontextmanager
async def scripted_registry() -> AsyncIterator[ScriptedRegistry]:
    """Serve on a loopback port."""
    held = ScriptedRegistry()

    async def answer(request: web.Request) -> web.StreamResponse:
        held.requests.append(f"{request.method} {request.path}")
        for fault in list(held.faults):
            response = await fault(request)
            if response is not None:
                return response
        return _content(held, request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        held.host = f"{host}:{port}"
        yield held
    finally:
        await runner.cleanup()


def _content(held: ScriptedRegistry, request: web.Request) -> web.Response:
    path = request.path
    if path == "/v2/":
        return web.json_response({})
    repository, _, rest = path.removeprefix("/v2/").rpartition("/manifests/")
    found = held.manifests.get(f"{repository}/{rest}") if repository else None
    if found is None:
        found = held.blobs.get(path.rpartition("/blobs/")[2])
    if found is None:
        return refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
    headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
    start = request.http_range.start or 0
    if not start:
        return web.Response(body=found.content, headers=headers)
    held.requests.append(f"RANGE {path} from {start}")
    headers["Content-Range"] = f"bytes {start}-{len(found.content) - 1}/{len(found.content)}"
    return web.Response(status=206, body=found.content[start:], headers=headers)


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error response in the specification's JSON form."""
    body = {"errors": [{"code": code, "message": message}]}
    return web.json_response(body, status=status, headers=headers)


def refuse(
    part: str, status: int, code: str, *, times: int = -1, headers: dict[str, str] | None = None
) -> Fault:
    """Answer requests whose path contains `part` with an error, the first `times` times or always."""
    left = [times]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if part not in request.path or left[0] == 0:
            return None
        left[0] -= 1
        return refusal(status, code, f"{code} as the test wants it", headers)

    return fault


def demand_password(user: str, password: str) -> Fault:
    """HTTP Basic authentication for everything."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == expected:
            return None
        return refusal(
            401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": 'Basic realm="test"'}
        )

    return fault


def demand_token(held: ScriptedRegistry, user: str, password: str) -> Fault:
    """The token protocol: /token gives a bearer token for the password, all else wants that token."""
    basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def fault(request: web.Request) -> web.StreamResponse | None:
        given = request.headers.get("Authorization", "")
        if request.path == "/token":
            if given != basic:
                return refusal(401, "UNAUTHORIZED", "wrong password")
            return web.json_response({"token": "test-token", "access_token": "test-token"})
        if given == "Bearer test-token":
            return None
        challenge = f'Bearer realm="http://{held.host}/token",service="test",scope="repository:a:pull"'
        return refusal(401, "UNAUTHORIZED", "token required", {"WWW-Authenticate": challenge})

    return fault


def replace_blob(digest: str, content: bytes) -> Fault:
    """Serve other content under a blob's digest: a corrupted download."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET" and request.path.endswith(digest):
            return web.Response(body=content)
        return None

    return fault


def cut_off(blob: Blob, *, times: int = -1) -> Fault:
    """Close the connection in the middle of a blob, the first `times` times or always."""
    left = [times]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.method != "GET" or not request.path.endswith(blob.digest) or left[0] == 0:
            return None
        left[0] -= 1
        response = web.StreamResponse(headers={"Content-Length": str(len(blob.content))})
        await response.prepare(request)
        await response.write(blob.content[: len(blob.content) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response

    return fault


@dataclass(slots=True)
class Stall:
    """Holds back a blob until `release` is set; `reached` tells that somebody waits for it."""

    digest: str
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET" and request.path.endswith(self.digest):
            self.reached.set()
            await self.release.wait()
        return None


@dataclass(slots=True)
class Pause:
    """Sends the first `after` bytes of a blob, and the rest when `release` is set."""

    blob: Blob
    after: int
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.method != "GET" or not request.path.endswith(self.blob.digest):
            return None
        response = web.StreamResponse(headers={"Content-Length": str(len(self.blob.content))})
        await response.prepare(request)
        await response.write(self.blob.content[: self.after])
        await self.release.wait()
        await response.write(self.blob.content[self.after :])
        return response
