"""HTTP for one pull: connections, TLS, proxies, and redirects that leak nothing.

aiohttp's own redirect handling, cookies, netrc and decompression are all switched off: credentials and configured
headers go to the host they are for and to no other, and a blob must arrive as the bytes that its digest is of.
No message made here has a query string in it, because redirects to blob stores are signed in theirs.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from cri.image.errors import HostError
from cri.image.proxy import proxy_for
from cri.image.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from cri.image.endpoint import Endpoint

MOST_REDIRECTS: Final = 10
READ_BYTES: Final = 1 << 20
"""Half of what one connection buffers."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BASE_HEADERS = {"User-Agent": "cri-shim", "Accept-Encoding": "identity"}


class Transport:
    """The HTTP connections of one pull.

    A context manager that may be entered several times, by the pull and by each piece of work that others have
    joined; the connections are closed when the last has left.
    """

    def __init__(self, stall_seconds: float, environment: Mapping[str, str] | None = None) -> None:
        """`stall_seconds` without a byte ends a request (0: never); `environment` is where proxies are set."""
        self._stall_seconds = stall_seconds or None
        self._environment = os.environ if environment is None else environment
        self._plain: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._users = 0

    async def __aenter__(self) -> Self:
        self._users += 1
        self._session = self._session or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            trust_env=False,
            headers=_BASE_HEADERS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if not self._users and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def request(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        private: Mapping[str, str],
        form: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """The answer to a request after redirects, its body unread. `private` headers stay with `url`'s host.

        TLS is as configured for `endpoint`, wherever a redirect leads: a registry and its blob store share
        their authority. Raises HostError, FailedPrecondition (a configured TLS file is wrong).
        """
        origin = _origin(url)
        for _ in range(MOST_REDIRECTS + 1):
            sent = {**headers, **private} if _origin(url) == origin else headers
            answer = await self._once(endpoint, method, url, sent, form)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            answer.release()
            try:
                url = urljoin(url, location)
                allowed = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
            except ValueError:
                allowed = False
            if not allowed:
                raise HostError(_host(origin), "it redirects to something that is no http or https URL")
            if form is not None and _origin(url) != origin:
                raise HostError(
                    _host(origin), "it redirects a request that holds credentials to another host"
                )
        raise HostError(_host(origin), f"it redirects more than {MOST_REDIRECTS} times")

    async def _once(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> aiohttp.ClientResponse:
        host = urlsplit(url).netloc
        if host in self._plain:
            url = url.replace("https://", "http://", 1)
        try:
            return await self._send(endpoint, method, url, headers, form)
        except aiohttp.ClientConnectorSSLError as error:
            if not (endpoint.http_fallback and host == endpoint.host and url.startswith("https://")):
                raise _failure(host, error) from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, TimeoutError, ValueError) as error:
            raise _failure(host, error) from None
        self._plain.add(host)
        return await self._once(endpoint, method, url, headers, form)

    async def _send(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the transport is used outside of its block")
        secure = url.startswith("https://")
        proxy = proxy_for(url, self._environment)
        return await self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=form,
            allow_redirects=False,
            proxy=proxy,
            ssl=await asyncio.to_thread(tls_context, endpoint) if secure else True,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=endpoint.dial_seconds, sock_read=self._stall_seconds
            ),
        )


async def read_limited(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, or its first `limit` + 1 bytes if it is larger than `limit`. Raises HostError."""
    body = bytearray()
    try:
        while len(body) <= limit and (block := await answer.content.readany()):
            body += block
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise HostError(answer.url.authority, describe(error), away=True, transient=True) from None
    return bytes(body[: limit + 1])


def describe(error: BaseException) -> str:
    """What went wrong with a connection, in a few words that hold no URL and no header."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            reason = getattr(cause, "verify_message", "") or "not valid"
            return f"its TLS certificate is not trusted: {reason}; see ca and skip_verify in hosts.toml"
        case ssl.SSLError() | aiohttp.ClientSSLError():
            cause = getattr(error, "os_error", error)
            return f"TLS failed: {getattr(cause, 'reason', None) or 'handshake broken off'}"
        case aiohttp.ClientProxyConnectionError():
            return "the proxy cannot be reached"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses with status {error.status}"
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ConnectionTimeoutError():
            return "connecting takes too long"
        case TimeoutError():
            return "nothing was received for too long"
        case aiohttp.ClientOSError() | OSError():
            number = getattr(getattr(error, "os_error", error), "errno", None)
            return os.strerror(number) if number else "the connection broke"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection was closed early"
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL() | ValueError():
            return "it does not speak HTTP properly"
        case _:
            return type(error).__name__


def _failure(host: str, error: BaseException) -> HostError:
    # A certificate that is not trusted is a matter of configuration: the registry itself is there.
    untrusted = isinstance(
        error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError)
    )
    return HostError(host, describe(error), away=not untrusted, transient=not untrusted)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _host(origin: tuple[str, str, int | None]) -> str:
    _, name, port = origin
    return name if port is None else f"{name}:{port}"
