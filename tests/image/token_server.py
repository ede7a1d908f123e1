"""A token server as the distribution specification has it: GET with Basic, POST with OAuth2 grants."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web


@dataclass
class TokenServer:
    """`async with TokenServer(...) as server:` issues `token` at `server.realm`."""

    token: str
    user: tuple[str, str] | None = None
    """Who may have the token; None is anybody."""
    refresh_token: str = ""
    post_only: bool = False
    answer_key: str = "token"
    expires_in: int | None = 300
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Method with query or form of each request."""
    realm: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/token", self._get)
        application.router.add_post("/token", self._post)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.realm = f"http://127.0.0.1:{self._runner.addresses[0][1]}/token"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        self.asked.append(("GET", dict(request.query)))
        if self.post_only:
            return web.Response(status=405)
        if self.user is not None:
            wanted = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
            if request.headers.get("Authorization") != wanted:
                return web.Response(status=401)
        return self._issued()

    async def _post(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append(("POST", form))
        if form["grant_type"] == "refresh_token" and form["refresh_token"] == self.refresh_token:
            return self._issued()
        if form["grant_type"] == "password" and (form["username"], form["password"]) == self.user:
            return self._issued()
        return web.Response(status=401)

    def _issued(self) -> web.Response:
        answer: dict[str, object] = {self.answer_key: self.token}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return web.json_response(answer)
