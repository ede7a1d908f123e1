"""What the server is doing right now, over HTTP on a Unix socket of its own, for `cri-shim status` and `timeline`.

A socket apart from CRI's, with no gRPC behind it: it answers when gRPC is what hangs, and kubelet's socket keeps
CRI's interface only. It lies in the state directory with mode 0600: root's alone, as stacks show paths and names.

    GET /operations[?stacks=1]    what is in flight, oldest first
    GET /timelines/POD            how a pod started; POD is a name, namespace/name, UID or sandbox id
    PUT /log-level                body: the level from now on
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TypedDict

import structlog
from aiohttp import web

from cri.errors import CriError, InvalidArgument, NotFound, Unavailable
from cri.observe.logging import set_level
from cri.observe.stages import Operation, in_flight
from cri.observe.task_dump import await_chain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from cri.observe.timelines import Timelines

log = structlog.get_logger(__name__)

SOCKET_NAME = "admin.sock"
"""Below the state directory."""
SOCKET_MODE = 0o600
SHUTDOWN_SECONDS = 1.0


class RunningStage(TypedDict):
    """A stage that has begun and not ended."""

    name: str
    seconds: float
    stack: list[str]
    """Frames of the task that is in it, outermost first; empty unless asked for."""


class InFlight(TypedDict):
    """An operation that has not ended."""

    operation: str
    attributes: dict[str, str]
    seconds: float
    stages: list[RunningStage]
    done: dict[str, float]
    """Seconds of the stages that have ended."""
    stack: list[str]


@contextlib.asynccontextmanager
async def serve_admin(
    path: Path, timelines: Timelines, more: Sequence[web.AbstractRouteDef] = ()
) -> AsyncIterator[None]:
    """Serve until the block ends; `more` are routes of other packages.

    Raises Unavailable when `path` cannot be listened on.
    """
    runner = web.AppRunner(
        _application(timelines, more),
        handle_signals=False,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        # Left by a killed server; the state directory is ours alone.
        await asyncio.to_thread(path.unlink, missing_ok=True)
        try:
            await web.UnixSite(runner, str(path)).start()
        except OSError as error:
            raise Unavailable(f"admin socket: cannot listen on {path}: {error.strerror or error}") from error
        await asyncio.to_thread(path.chmod, SOCKET_MODE)
        yield
    finally:
        await runner.cleanup()
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def run_admin(path: Path, timelines: Timelines, more: Sequence[web.AbstractRouteDef] = ()) -> None:
    """Serve for ever; made for `Supervisor.keep`."""
    async with serve_admin(path, timelines, more):
        await asyncio.Event().wait()


def describe(operation: Operation, *, stacks: bool) -> InFlight:
    """An operation as JSON values."""
    now = time.monotonic()
    running = [
        RunningStage(
            name=stage.name,
            seconds=round(now - stage.began, 6),
            stack=await_chain(stage.task) if stacks and stage.task is not None else [],
        )
        for stage in operation.running
    ]
    done: dict[str, float] = {}
    for stage in operation.stages:
        if stage.seconds is not None:
            done[stage.name] = round(done.get(stage.name, 0.0) + stage.seconds, 6)
    return InFlight(
        operation=operation.name,
        attributes=dict(operation.attributes),
        seconds=round(operation.age, 6),
        stages=running,
        done=done,
        stack=await_chain(operation.task) if stacks and operation.task is not None else [],
    )


def _application(timelines: Timelines, more: Sequence[web.AbstractRouteDef]) -> web.Application:
    async def operations(request: web.Request) -> web.Response:
        stacks = "stacks" in request.query
        return web.json_response([describe(each, stacks=stacks) for each in in_flight()])

    async def timeline(request: web.Request) -> web.Response:
        return web.json_response(timelines.find(request.match_info["pod"]))

    async def log_level(request: web.Request) -> web.Response:
        level = (await request.text()).strip()
        set_level(level)
        log.warning("log level changed", level=level)
        return web.json_response({"level": level})

    application = web.Application(middlewares=[_errors])
    application.router.add_get("/operations", operations)
    application.router.add_get("/timelines/{pod:.+}", timeline)
    application.router.add_put("/log-level", log_level)
    application.router.add_routes(more)
    return application


_STATUS = {NotFound: 404, InvalidArgument: 400}


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except CriError as error:
        return web.json_response({"error": error.message}, status=_STATUS.get(type(error), 500))
