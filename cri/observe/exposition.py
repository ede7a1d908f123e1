"""The HTTP server that answers `/metrics` and `/healthz`: loopback TCP or a Unix socket.

Rendering thousands of series is tens of milliseconds of pure Python, so it runs in a thread, one at a time;
a scrape that comes while one is rendered waits for its own turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from cri.errors import Unavailable
from cri.observe.address import UNIX_PREFIX, split_host_port

if TYPE_CHECKING:
    from cri.observe.metrics import Metrics
    from cri.observe.server_certificate import ServerCertificate

log = structlog.get_logger(__name__)

SOCKET_MODE = 0o600
SHUTDOWN_SECONDS = 1.0

Health = Callable[[], str | None]
"""Says what is wrong, None when all is well."""


@contextlib.asynccontextmanager
async def serve_metrics(
    address: str,
    metrics: Metrics,
    health: Health = lambda: None,
    certificate: ServerCertificate | None = None,
) -> AsyncIterator[str]:
    """Serve until the block ends, over TLS with a certificate; yields the address in use (the port chosen, if 0).

    `address` is "host:port", "[v6]:port", "unix:///path", or "" for none (nothing is served, "" yielded).
    Raises InvalidArgument for an address that cannot be read, Unavailable when it cannot be listened on.
    """
    if not address:
        yield ""
        return
    runner = web.AppRunner(
        _application(metrics, health),
        handle_signals=False,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        site = _site(runner, address, certificate)
        try:
            await site.start()
        except OSError as error:
            raise Unavailable(f"metrics: cannot listen on {address}: {error.strerror or error}") from error
        if isinstance(site, web.UnixSite):
            await asyncio.to_thread(_unix_path(address).chmod, SOCKET_MODE)
        bound = _bound(address, runner)
        log.info("metrics are served", address=bound)
        yield bound
    finally:
        await runner.cleanup()
        if address.startswith(UNIX_PREFIX):
            _unix_path(address).unlink(missing_ok=True)


def _site(runner: web.AppRunner, address: str, certificate: ServerCertificate | None) -> web.BaseSite:
    context = None if certificate is None else certificate.context
    if address.startswith(UNIX_PREFIX):
        path = _unix_path(address)
        path.unlink(missing_ok=True)  # a socket left by a killed server; the path is ours alone
        return web.UnixSite(runner, str(path), ssl_context=context)
    host, port = split_host_port(address)
    return web.TCPSite(runner, host or "127.0.0.1", port, reuse_address=True, ssl_context=context)


def _unix_path(address: str) -> Path:
    return Path(address.removeprefix(UNIX_PREFIX))


def _bound(address: str, runner: web.AppRunner) -> str:
    first = next(iter(runner.addresses), None)
    if not isinstance(first, tuple):
        return address
    host, port = first[0], first[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _application(metrics: Metrics, health: Health) -> web.Application:
    rendering = asyncio.Lock()

    async def expose(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        async with rendering:
            metrics.snapshots.refresh()
            body = await asyncio.to_thread(encode, metrics.registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def judge(_request: web.Request) -> web.Response:
        problem = health()
        return web.Response(text="ok\n") if problem is None else web.Response(text=f"{problem}\n", status=503)

    application = web.Application()
    application.router.add_get("/metrics", expose)
    application.router.add_get("/healthz", judge)
    return application
