"""What an operator can set about streams; keys as in containerd's CRI plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IDLE_SECONDS = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate chain and its key, both PEM; read again when they change."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Settings of the stream server; durations in seconds."""

    stream_server_address: str = "127.0.0.1"
    """Where to listen: a host name or an address. A wildcard listens everywhere and hands out loopback URLs."""
    stream_server_port: int = 0
    """0 takes a free port."""
    stream_idle_timeout: float = IDLE_SECONDS
    """A connection on which nothing moves for this long is closed; 0 never."""
    enable_tls_streaming: bool = False
    x509_key_pair_streaming: CertificateFiles | None = None
    """None with TLS makes a self-signed certificate, which lasts as long as the server."""
