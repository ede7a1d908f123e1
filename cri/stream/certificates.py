"""The stream server's certificate: given as files that may be replaced at any time, or made here and signed by itself.

A TLS context is read by every handshake, so loading a new pair into it is all that a replacement takes. A pair that
cannot be loaded, because only one of the two files has been replaced yet, leaves the old one in use.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from cri.errors import FailedPrecondition

if TYPE_CHECKING:
    from cryptography import x509

    from cri.stream.settings import CertificateFiles

log = structlog.get_logger(__name__)

VALID: Final = dt.timedelta(days=3650)
Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """A TLS context that follows its files."""

    def __init__(self, files: CertificateFiles | None, address: str) -> None:
        """Load the files, or make a certificate for `address` and this host's name. Raises FailedPrecondition."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._files = files
        self._stamp: Stamp = ()
        if files is None:
            _load_self_signed(self.context, address)
            return
        try:
            self._stamp = _stamp(files)
            self.context.load_cert_chain(files.certificate, files.key)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(
                f"x509_key_pair_streaming: {files.certificate} and {files.key} cannot be used: {error}"
            ) from None

    def refresh(self) -> None:
        """Load the files again if they have changed. Two stat calls otherwise."""
        if self._files is None:
            return
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._files.certificate, self._files.key)
            self.context.load_cert_chain(self._files.certificate, self._files.key)
        except (OSError, ssl.SSLError) as error:
            log.warning("new stream certificate cannot be used, keeping the old one", error=str(error))
            return
        self._stamp = stamp
        log.info("stream certificate was replaced", certificate=str(self._files.certificate))


def _stamp(files: CertificateFiles) -> Stamp:
    found = (os.stat(path) for path in (files.certificate, files.key))
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def _load_self_signed(context: ssl.SSLContext, address: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cri-shim-") as directory:  # ssl reads files only; mode 0700
        path = Path(directory, "pair.pem")
        path.write_bytes(_self_signed(address))
        context.load_cert_chain(path)


def _self_signed(address: str) -> bytes:
    """Certificate and key in PEM. cryptography is imported here because few nodes need it and it takes 10 MiB."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cri-shim streams")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([*_names(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _names(address: str) -> list[x509.GeneralName]:
    from cryptography import x509

    addresses = dict.fromkeys((address, "127.0.0.1", "::1"))
    return [
        *(x509.DNSName(name) for name in ("localhost", socket.gethostname())),
        *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses),
    ]
