"""Authorization for one pull: what a 401 asks for, tokens fetched and kept for their life.

Per host: nothing is sent until the host asks. A registry token is the answer to any challenge. A `Basic` challenge
is answered with the credentials. A `Bearer` one names a token server; it is asked with GET, with the
credentials as Basic if there are any, or with an OAuth2 POST for an identity token and for servers that want
passwords so (distribution specification: "Token Authentication", "OAuth2"). A token is kept by scope until
shortly before its end; one that is refused earlier is dropped and fetched once more.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from cri.errors import PermissionDenied, Unauthenticated
from cri.image.challenge import Challenge, parse_challenges
from cri.image.endpoint import is_loopback
from cri.image.errors import HostError
from cri.image.transport import read_limited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiohttp

    from cri.image.credentials import Credentials, Keyring
    from cri.image.endpoint import Endpoint
    from cri.image.transport import Transport

CLIENT_ID: Final = "cri-shim"
_LARGEST_ANSWER = 1 << 20
_DEFAULT_LIFE = 60.0
_SAFETY = 5.0
_TRY_POST = frozenset({400, 401, 404, 405})


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


@dataclass(slots=True)
class _Token:
    header: str = field(repr=False)
    ends: float


@dataclass(slots=True)
class _Host:
    """What has been learnt about one host. `realm` is set where it wants bearer tokens."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    basic: bool = False
    realm: str = ""
    service: str = ""
    tokens: dict[str, _Token] = field(default_factory=dict)


class Authorizer:
    """Gives each request of one pull its `Authorization` header, and learns from refusals."""

    def __init__(self, transport: Transport, keyring: Keyring) -> None:
        self._transport = transport
        self._keyring = keyring
        self._hosts: dict[str, _Host] = {}

    async def header(self, endpoint: Endpoint, scope: str) -> str | None:
        """The header to send to `endpoint` for `scope`, as far as the host has asked for one."""
        host = self._hosts.get(endpoint.host)
        if host is None:
            return None
        credentials = self._keyring.credentials(endpoint.host)
        if credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        if host.basic:
            return _basic(credentials)
        if not host.realm:
            return None
        async with host.lock:
            return await self._token(endpoint, host, scope)

    async def answer(
        self, endpoint: Endpoint, scope: str, answer: aiohttp.ClientResponse, sent: str | None
    ) -> None:
        """Learn from a 401 to a request that carried `sent`; returns if another try makes sense.

        Raises HostError: the host wants credentials that are not there, or refuses those that are.
        """
        challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", []))
        host = self._hosts.setdefault(endpoint.host, _Host())
        async with host.lock:
            if self._keyring.credentials(endpoint.host).registry_token:
                if sent is not None:
                    raise HostError(endpoint.host, "it refuses the registry token", Unauthenticated)
                return
            chosen = self._choose(endpoint, challenges)
            if chosen.scheme == "basic":
                self._learn_basic(endpoint, host, sent)
            else:
                self._learn_bearer(endpoint, host, chosen, scope, sent)

    def _choose(self, endpoint: Endpoint, challenges: Sequence[Challenge]) -> Challenge:
        for scheme in ("bearer", "basic"):
            for challenge in challenges:
                if challenge.scheme == scheme and (scheme == "basic" or challenge.parameters.get("realm")):
                    return challenge
        offered = ", ".join(challenge.scheme[:20] for challenge in challenges) or "nothing"
        raise HostError(
            endpoint.host,
            f"it wants authentication but offers {offered}, not Bearer or Basic",
            Unauthenticated,
        )

    def _learn_basic(self, endpoint: Endpoint, host: _Host, sent: str | None) -> None:
        credentials = self._keyring.credentials(endpoint.host)
        if not credentials.username:
            raise HostError(
                endpoint.host,
                "it wants a user name and password: set an image pull secret or [registry.configs]",
                Unauthenticated,
            )
        if sent == _basic(credentials):
            raise HostError(
                endpoint.host, f"it refuses the password of user {credentials.username!r}", Unauthenticated
            )
        host.basic = True

    def _learn_bearer(
        self, endpoint: Endpoint, host: _Host, challenge: Challenge, scope: str, sent: str | None
    ) -> None:
        token = host.tokens.get(scope)
        if token is not None and token.header == sent:
            del host.tokens[scope]
        host.realm = challenge.parameters["realm"]
        host.service = challenge.parameters.get("service", "")
        parts = urlsplit(host.realm)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HostError(endpoint.host, "its token server is no http or https URL", Unauthenticated)
        exposed = parts.scheme == "http" and endpoint.scheme == "https" and not is_loopback(parts.netloc)
        if exposed and not self._keyring.credentials(endpoint.host).anonymous:
            raise HostError(
                endpoint.host,
                f"its token server {parts.hostname} has no TLS, so credentials are not sent there",
                Unauthenticated,
            )

    async def _token(self, endpoint: Endpoint, host: _Host, scope: str) -> str:
        token = host.tokens.get(scope)
        if token is None or token.ends <= time.monotonic():
            token = await self._fetch(endpoint, host, scope)
            host.tokens[scope] = token
        return token.header

    async def _fetch(self, endpoint: Endpoint, host: _Host, scope: str) -> _Token:
        credentials = self._keyring.credentials(endpoint.host)
        if credentials.identity_token:
            grant = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
            return await self._read(endpoint, host, await self._post(endpoint, host, scope, grant))
        answer = await self._get(endpoint, host, scope, credentials)
        if answer.status in _TRY_POST and credentials.username:
            answer.release()
            grant = {
                "grant_type": "password",
                "username": credentials.username,
                "password": credentials.password,
            }
            answer = await self._post(endpoint, host, scope, grant)
        return await self._read(endpoint, host, answer)

    async def _get(
        self, endpoint: Endpoint, host: _Host, scope: str, credentials: Credentials
    ) -> aiohttp.ClientResponse:
        parts = urlsplit(host.realm)
        query = parse_qsl(parts.query, keep_blank_values=True)
        query += [("service", host.service)] if host.service else []
        query += [("scope", scope)]
        if credentials.username:
            query.append(("account", credentials.username))
        url = urlunsplit(parts._replace(query=urlencode(query)))
        private = {"Authorization": _basic(credentials)} if credentials.username else {}
        return await self._transport.request(endpoint, "GET", url, headers={}, private=private)

    async def _post(
        self, endpoint: Endpoint, host: _Host, scope: str, grant: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        form = {**grant, "service": host.service, "scope": scope, "client_id": CLIENT_ID}
        return await self._transport.request(endpoint, "POST", host.realm, headers={}, private={}, form=form)

    async def _read(self, endpoint: Endpoint, host: _Host, answer: aiohttp.ClientResponse) -> _Token:
        server = urlsplit(host.realm).netloc.rpartition("@")[2]
        async with answer:
            if answer.status != 200:
                raise _refused(endpoint, server, answer.status)
            body = await read_limited(answer, _LARGEST_ANSWER)
        try:
            content = msgspec.json.decode(body, type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            content = _TokenAnswer()
        token = content.access_token or content.token
        if not token or not token.isprintable():
            raise HostError(endpoint.host, f"token server {server} sends no token", Unauthenticated)
        life = max(content.expires_in or _DEFAULT_LIFE, _DEFAULT_LIFE / 2)
        return _Token(f"Bearer {token}", time.monotonic() + life - _SAFETY)


def _refused(endpoint: Endpoint, server: str, status: int) -> HostError:
    if status in (400, 401, 403, 404, 405):
        kind = PermissionDenied if status == 403 else Unauthenticated
        return HostError(endpoint.host, f"token server {server} refuses with status {status}", kind)
    return HostError(
        endpoint.host, f"token server {server} fails with status {status}", away=True, transient=True
    )


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
