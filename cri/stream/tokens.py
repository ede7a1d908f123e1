"""Tokens in stream URLs: who has one may start what it stands for, once, within a minute."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from cri.errors import ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.stream.endpoints import Call

TOKEN_BYTES = 16
LIFE_SECONDS = 60.0
MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Promise:
    """What a token stands for."""

    call: Call
    expires: float
    about: dict[str, Any] = field(default_factory=structlog.contextvars.get_contextvars)
    """What the log lines of the request say besides their event; those of its session are to say it too."""


class Tokens:
    """Calls that wait for their client."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, Promise] = {}

    def issue(self, call: Call) -> str:
        """A new token for `call`. Raises ResourceExhausted when too many others are still waiting."""
        now = self._clock()
        self._expire(now)
        if len(self._waiting) >= MOST_WAITING:
            raise ResourceExhausted(
                f"{MOST_WAITING} stream URLs wait for their clients; each is given up after {LIFE_SECONDS:g} s"
            )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._waiting[token] = Promise(call, now + LIFE_SECONDS)
        return token

    def redeem(self, token: str) -> Promise | None:
        """What `token` stands for, None if it was never issued, has been used or is too old."""
        promise = self._waiting.pop(token, None)
        return promise if promise is not None and self._clock() < promise.expires else None

    def _expire(self, now: float) -> None:
        """Insertion order is the order of expiry, so the old ones are in front."""
        while self._waiting:
            token, oldest = next(iter(self._waiting.items()))
            if oldest.expires > now:
                return
            del self._waiting[token]
