"""/metrics over TLS: served with the files that are there, also after they were replaced."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest

from cri.errors import FailedPrecondition
from cri.observe.exposition import serve_metrics
from cri.observe.metrics import Metrics
from cri.observe.server_certificate import ServerCertificate


def make_pair(directory: Path, name: str) -> tuple[Path, Path]:
    certificate, key = directory / "tls.crt", directory / "tls.key"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


async def served_name(address: str, trusted: Path) -> str:
    """The name in the certificate of a server that answers a scrape."""
    context = ssl.create_default_context(cafile=str(trusted))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True)) as session,
        session.get(f"https://{address}/metrics") as answer,
    ):
        assert "cri_shim_build_info" in await answer.text()
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    subject = dict(pair for (pair,) in writer.get_extra_info("peercert")["subject"])
    writer.close()
    return str(subject["commonName"])


async def test_the_pair_may_be_replaced_while_it_serves(tmp_path: Path):
    certificate, key = make_pair(tmp_path, "first")
    pair = ServerCertificate(certificate, key)
    async with serve_metrics("127.0.0.1:0", Metrics(), lambda: None, pair) as address:
        first = tmp_path / "first.crt"
        first.write_bytes(certificate.read_bytes())
        assert await served_name(address, first) == "first"
        certificate.write_bytes(b"half written")
        os.utime(certificate, ns=(1, 1))
        assert await served_name(address, first) == "first", "the old pair is good until the new one is"
        make_pair(tmp_path, "second")
        assert await served_name(address, certificate) == "second"
        with pytest.raises(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics"):
                pass


def test_files_that_cannot_be_used_are_named(tmp_path: Path):
    (tmp_path / "no.crt").write_text("nonsense")
    with pytest.raises(FailedPrecondition, match=r"no\.crt"):
        ServerCertificate(tmp_path / "no.crt", tmp_path / "no.key")
