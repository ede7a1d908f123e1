"""The housekeeping of a running server, on its admin socket.

GET  /leftovers      what a round of the janitor would find
POST /gc             a round of the janitor, now
GET  /consistency    contradictions and leftovers
GET  /disk           who holds what on disk
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from api.containerd import errors as containerd_errors
from cri.app.housekeeping import work
from cri.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cri.sandbox.engine import PodEngine
    from cri.sandbox.janitor.rounds import Janitor


def routes(pods: PodEngine, janitor: Janitor) -> Sequence[web.AbstractRouteDef]:
    """For `cri.observe.admin.run_admin`."""
    return (
        web.get("/leftovers", _answering(lambda: work.look(janitor))),
        web.post("/gc", _answering(lambda: work.sweep(janitor))),
        web.get("/consistency", _answering(lambda: work.check(pods, janitor))),
        web.get("/disk", _answering(lambda: work.disk(pods))),
    )


def _answering(work: Callable[[], Awaitable[object]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        try:
            return web.json_response(await work())
        except containerd_errors.ContainerdError as error:
            raise Unavailable(str(error)) from error

    return answer
