"""Errors that one module of this package raises for another to catch; see `cri.errors` for the rest.

A failure of one host is a HostError: no message for a user yet, because another host may do better. When all
have failed, `all_failed` makes the one error that the caller sees, with every host and its reason in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cri.errors import CriError, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

REGISTRY_UNAVAILABLE: Final = "RegistryUnavailable"
"""In front of a message, tells the kubelet that the registry, not the image, is the trouble (cri-api errors)."""


class HostError(Exception):
    """One host did not deliver; `reason` is a few words without any URL or secret."""

    def __init__(
        self,
        host: str,
        reason: str,
        kind: type[CriError] = Unavailable,
        *,
        away: bool = False,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """`away`: the registry itself is the trouble. `transient`: asking again soon may help, `retry_after`
        seconds from now if it said so."""
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason
        self.kind = kind
        self.away = away
        self.transient = transient
        self.retry_after = retry_after


class Interrupted(HostError):
    """A connection broke, stalled or ended early in the middle of a blob, which can be resumed."""


class Corrupt(HostError):
    """A host sent other bytes than the digest and size promise."""


def all_failed(subject: str, failures: Sequence[HostError]) -> CriError:
    """The error for a user: `subject` says what was wanted ("docker.io/library/x:1: manifest").

    The host that got furthest decides what kind it is: an answer counts more than none, a refusal more than
    "not here".
    """
    if not failures:
        return NotFound(f"{subject}: no configured host may be asked for it")
    decisive = max(failures, key=_weight)
    reasons = "; ".join(dict.fromkeys(str(failure) for failure in failures))
    prefix = f"{REGISTRY_UNAVAILABLE}: " if decisive.away else ""
    return decisive.kind(f"{prefix}{subject}: {reasons}")


def _weight(failure: HostError) -> int:
    if issubclass(failure.kind, NotFound):
        return 1
    return 0 if failure.away else 2
