"""Certificates for tests, made with the openssl program: an authority and what it signs."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a directory."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    @staticmethod
    def make(directory: Path) -> Authority:
        directory.mkdir(parents=True)
        _openssl(
            directory,
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority", "-days", "2"),
        )
        return Authority(directory)

    def sign(self, name: str, *, address: str = "127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """Certificate and key for a server (or client) at `address`."""
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        (self.directory / f"{name}.ext").write_text(f"subjectAltName=IP:{address}\n")
        _openssl(
            self.directory,
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        _openssl(
            self.directory,
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.crt", "-days", str(days), "-extfile", f"{name}.ext"),
        )
        return certificate, key

    def server(self, name: str = "server", *, address: str = "127.0.0.1", days: int = 2) -> ssl.SSLContext:
        """A context for a server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.sign(name, address=address, days=days))
        return context


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
