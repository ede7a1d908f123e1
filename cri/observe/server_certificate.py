"""The certificate that /metrics is served with, if it is: a pair of files that may be replaced at any time.

Each handshake looks whether the files have changed, so that a certificate which was renewed in time is the one that
clients see; a pair that does not fit, because only one file has been replaced yet, leaves the old one in use.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import structlog

from cri.errors import FailedPrecondition

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)


class ServerCertificate:
    """A TLS context for servers that follows its files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the pair. Blocking. Raises FailedPrecondition when it cannot be used."""
        self._certificate, self._key = certificate, key
        try:
            self._stamp = self._look()
            self._newest = self._load()
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(f"metrics: {certificate} and {key} cannot be used: {error}") from None
        self.context = self._load()
        self.context.sni_callback = self._hand_over

    def _hand_over(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called by every handshake, with and without a server name: let it go on with the newest pair."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._newest, self._stamp = self._load(), stamp
        except (OSError, ssl.SSLError) as error:
            log.warning("new certificate for metrics cannot be used yet", error=str(error))
        handshake.context = self._newest

    def _look(self) -> tuple[int, int]:
        return self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate, self._key)
        return context
