"""One request to one endpoint: authorised, repeated where that helps, its refusal put into words."""

from __future__ import annotations

import asyncio
import email.utils
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from cri.errors import (
    CriError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from cri.image.errors import HostError
from cri.image.transport import read_limited

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from cri.image.authorization import Authorizer
    from cri.image.endpoint import Endpoint
    from cri.image.transport import Transport

MOST_ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 30.0
"""A server that wants a longer pause (Retry-After) is believed, and the pull fails: the kubelet comes again."""

_TRIES_OF_CREDENTIALS = 3
_LARGEST_REFUSAL = 16 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for. Without a `scope` it is made without credentials and configured headers."""

    url: str
    scope: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange:
    """Sends the requests of one pull."""

    def __init__(self, transport: Transport, authorizer: Authorizer) -> None:
        self._transport = transport
        self._authorizer = authorizer

    async def send(
        self, endpoint: Endpoint, request: Request, *, attempts: int = MOST_ATTEMPTS
    ) -> aiohttp.ClientResponse:
        """The successful (2xx) answer of `endpoint`, its body unread; to be used as a context manager.

        Raises HostError after `attempts`.
        """
        pause = FIRST_PAUSE_SECONDS
        for left in reversed(range(attempts)):
            try:
                return await self._attempt(endpoint, request)
            except HostError as failure:
                wanted = failure.retry_after or 0.0
                if not failure.transient or left == 0 or wanted > LONGEST_PAUSE_SECONDS:
                    raise
                await asyncio.sleep(max(pause, wanted))
                pause *= 2
        raise ValueError("at least one attempt is needed")

    async def _attempt(self, endpoint: Endpoint, request: Request) -> aiohttp.ClientResponse:
        for _ in range(_TRIES_OF_CREDENTIALS):
            authorization: str | None = None
            private: dict[str, str] = {}
            if request.scope:
                authorization = await self._authorizer.header(endpoint, request.scope)
                private.update(endpoint.headers)
            if authorization is not None:
                private["Authorization"] = authorization
            answer = await self._transport.request(
                endpoint, request.method, request.url, headers=request.headers, private=private
            )
            if answer.status < 300:
                return answer
            async with answer:
                if answer.status != 401 or not request.scope:
                    raise await refusal(endpoint.host, answer)
                await self._authorizer.answer(endpoint, request.scope, answer, authorization)
        raise HostError(
            endpoint.host,
            "access denied: the repository does not exist, or needs (other) credentials",
            Unauthenticated,
        )


async def refusal(host: str, answer: aiohttp.ClientResponse) -> HostError:
    """The failure that an answer with an error status stands for, with the registry's own words if it has any."""
    words = await _words(answer)
    status = answer.status
    reason = f"status {status}{words}"
    match status:
        case 404:
            return HostError(host, f"not found{words}", NotFound)
        case 401:
            return HostError(host, f"access denied{words}", Unauthenticated)
        case 403:
            return HostError(host, f"forbidden{words}", PermissionDenied)
        case 429:
            after = retry_after(answer.headers.get("Retry-After", ""))
            advice = f", to be asked again in {after:.0f} s" if after else ""
            return HostError(
                host,
                f"too many requests{words}{advice}",
                ResourceExhausted,
                transient=True,
                retry_after=after,
            )
        case _ if status >= 500 or status == 408:
            after = retry_after(answer.headers.get("Retry-After", ""))
            return HostError(host, reason, Unavailable, away=True, transient=True, retry_after=after)
        case _:
            kind: type[CriError] = FailedPrecondition
            return HostError(host, reason, kind)


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110 section 10.2.3); None without."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time_ns() / 1e9)


class _RefusalEntry(msgspec.Struct):
    code: str = ""
    message: str | None = None


class _Refusal(msgspec.Struct):
    errors: list[_RefusalEntry] | None = None


async def _words(answer: aiohttp.ClientResponse) -> str:
    """` (CODE: message)` of the distribution specification's error body, shortened; "" if there is none."""
    try:
        body = await read_limited(answer, _LARGEST_REFUSAL)
        entries = msgspec.json.decode(body, type=_Refusal).errors or []
    except (HostError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    if not entries:
        return ""
    text = ": ".join(filter(None, (entries[0].code, entries[0].message)))
    return f" ({''.join(letter for letter in text if letter.isprintable())[:300]})" if text else ""
