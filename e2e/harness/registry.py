"""Debian's docker-registry on a loopback port, with a storage directory of its own: start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START_SECONDS = patiently(10.0)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate for 127.0.0.1 that is its own authority, and its key; PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Login:
    """A user of a registry; `htpasswd` is the line of Apache's password file (bcrypt) for the two."""

    user: str
    password: str
    htpasswd: str


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry; `host` is what stands in front of a repository in an image reference."""

    host: str
    certificate: Certificate | None = None
    login: Login | None = None

    @property
    def url(self) -> str:
        """The API's base without a final slash."""
        return f"{'https' if self.certificate else 'http'}://{self.host}"


@contextlib.asynccontextmanager
async def registry(
    directory: Path, certificate: Certificate | None = None, login: Login | None = None
) -> AsyncIterator[Registry]:
    """Run a registry that stores below `directory`; with a certificate it speaks HTTPS, with a login it is private."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    host = f"127.0.0.1:{port}"
    configuration = directory / "registry.yml"  # JSON is YAML
    configuration.write_text(json.dumps(_configuration(directory, host, certificate, login)))
    with (directory / "registry.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *("docker-registry", "serve", str(configuration)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"OTEL_TRACES_EXPORTER": "none"},
            start_new_session=True,
        )
    try:
        await _listening(port, process)
        yield Registry(host, certificate, login)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def self_signed(directory: Path) -> Certificate:
    """Make a certificate for 127.0.0.1 with the openssl program."""
    made = Certificate(directory / "registry.crt", directory / "registry.key")
    directory.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "7", "-subj", "/CN=registry of the tests", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(made.key), "-out", str(made.certificate)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"openssl made no certificate (is openssl installed?): {errors.decode()}")
    return made


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _configuration(
    directory: Path, host: str, certificate: Certificate | None, login: Login | None
) -> dict[str, object]:
    http: dict[str, object] = {"addr": host}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
    access: dict[str, object] = {}
    if login is not None:
        passwords = directory / "htpasswd"
        passwords.write_text(f"{login.htpasswd}\n")
        access["auth"] = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": http,
        **access,
    }


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"docker-registry ended with {process.returncode}; see registry.log")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
