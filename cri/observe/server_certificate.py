"""The certificate that /metrics is served with, if it is: a pair of files that may be replaced at any time."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

from cri.errors import FailedPrecondition

log = structlog.get_logger(__name__)


class ServerCertificate:
    """A TLS context that follows its files; every handshake reads it, so loading anew is all that it takes."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the pair. Blocking. Raises FailedPrecondition when it cannot be used."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._files = (certificate, key)
        self._loaded: tuple[int, ...] = ()
        try:
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(f"metrics: {certificate} and {key} cannot be used: {error}") from None

    def refresh(self) -> None:
        """Load the files again if they have changed; a pair that does not fit leaves the old one in use. Blocking."""
        try:
            self._load()
        except (OSError, ssl.SSLError) as error:
            log.warning("new certificate for metrics cannot be used yet", error=str(error))

    def _load(self) -> None:
        stamp = tuple(path.stat().st_mtime_ns for path in self._files)
        if stamp != self._loaded:
            self.context.load_cert_chain(*self._files)
            self._loaded = stamp
