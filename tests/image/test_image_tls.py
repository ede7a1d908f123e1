"""TLS and plain HTTP: who is trusted, who is told what, and where HTTP without TLS is spoken."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cri.errors import CriError, FailedPrecondition, Unavailable
from cri.image.settings import RegistryConfig, RegistrySettings, RegistryTls
from cri.image.store import ImageStore
from tests.image.certificates import Authority
from tests.image.conftest import MakeStore, write_hosts
from tests.image.made_images import image_of
from tests.image.scripted_registry import ScriptedRegistry

IMAGE = image_of(b"one")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def server_context(authority: Authority) -> ssl.SSLContext:
    return authority.server()


@pytest_asyncio.fixture
async def secure(server_context: ssl.SSLContext) -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry(tls=server_context) as served:
        yield served


async def test_our_own_authority(
    secure: ScriptedRegistry, store: ImageStore, certs: Path, authority: Authority
) -> None:
    write_hosts(certs, secure.host, f'server = "https://{secure.host}"\nca = "{authority.certificate}"\n')
    assert await store.pull(secure.add("app", "v1", IMAGE)) == IMAGE.config.digest


async def test_an_authority_in_dockers_layout(
    secure: ScriptedRegistry, store: ImageStore, certs: Path, authority: Authority
) -> None:
    directory = certs / (secure.host.replace(":", "_") + "_")
    directory.mkdir()
    (directory / "ca.crt").write_bytes(authority.certificate.read_bytes())
    assert await store.pull(secure.add("app", "v1", IMAGE)) == IMAGE.config.digest


async def test_an_authority_in_the_old_style(
    make_store: MakeStore, secure: ScriptedRegistry, authority: Authority
) -> None:
    tls = RegistryTls(ca_file=str(authority.certificate))
    store = await make_store(RegistrySettings("", {secure.host: RegistryConfig(tls=tls)}))
    assert await store.pull(secure.add("app", "v1", IMAGE)) == IMAGE.config.digest


async def test_skip_verify(secure: ScriptedRegistry, store: ImageStore, certs: Path) -> None:
    write_hosts(certs, secure.host, f'server = "https://{secure.host}"\nskip_verify = true\n')
    assert await store.pull(secure.add("app", "v1", IMAGE)) == IMAGE.config.digest


async def test_loopback_speaks_either_and_need_not_be_trusted(
    secure: ScriptedRegistry, registry: ScriptedRegistry, store: ImageStore
) -> None:
    assert await store.pull(secure.add("app", "v1", IMAGE)) == IMAGE.config.digest
    assert await store.pull(registry.add("app", "v1", IMAGE)) == IMAGE.config.digest


async def failure(store: ImageStore, reference: str) -> CriError:
    with pytest.raises(CriError) as caught:
        await store.pull(reference)
    return caught.value


async def test_an_unknown_authority(secure: ScriptedRegistry, store: ImageStore, certs: Path) -> None:
    write_hosts(certs, secure.host, f'server = "https://{secure.host}"\n')
    error = await failure(store, secure.add("app", "v1", IMAGE))
    assert isinstance(error, Unavailable)
    assert "TLS certificate is not trusted: unable to get local issuer certificate" in str(error)
    assert "hosts.toml" in str(error), "the remedy is named"
    assert not str(error).startswith("RegistryUnavailable"), "the registry is there"
    assert secure.asked == []


@pytest.mark.parametrize(
    ("name", "address", "days", "reason"),
    [
        ("expired", "127.0.0.1", -1, "certificate has expired"),
        ("elsewhere", "127.0.0.2", 2, "IP address mismatch"),
    ],
)
async def test_a_certificate_that_does_not_hold(
    authority: Authority, store: ImageStore, certs: Path, name: str, address: str, days: int, reason: str
) -> None:
    async with ScriptedRegistry(tls=authority.server(name, address=address, days=days)) as served:
        write_hosts(certs, served.host, f'server = "https://{served.host}"\nca = "{authority.certificate}"\n')
        error = await failure(store, served.add("app", "v1", IMAGE))
        assert reason in str(error)


async def test_a_client_certificate(authority: Authority, store: ImageStore, certs: Path) -> None:
    context = authority.server("strict")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    certificate, key = authority.sign("client")
    async with ScriptedRegistry(tls=context) as served:
        reference = served.add("app", "v1", IMAGE)
        text = f'server = "https://{served.host}"\nca = "{authority.certificate}"\n'
        write_hosts(certs, served.host, text)
        assert isinstance(await failure(store, reference), Unavailable)
        write_hosts(certs, served.host, f'{text}client = [["{certificate}", "{key}"]]\n')
        assert await store.pull(reference) == IMAGE.config.digest, "the file is read at each pull"


@pytest.mark.parametrize("line", ['ca = "gone.crt"', 'ca = "empty.crt"', 'client = "gone.pem"'])
async def test_a_file_that_is_wrong_is_named(
    secure: ScriptedRegistry, store: ImageStore, certs: Path, line: str
) -> None:
    write_hosts(certs, secure.host, f'server = "https://{secure.host}"\n{line}\n')
    next(certs.iterdir()).joinpath("empty.crt").write_text("")
    error = await failure(store, secure.add("app", "v1", IMAGE))
    assert isinstance(error, FailedPrecondition)
    assert line.split('"')[1] in str(error)


async def test_http_where_tls_is_configured_is_refused(
    registry: ScriptedRegistry, store: ImageStore, certs: Path
) -> None:
    write_hosts(certs, registry.host, f'server = "https://{registry.host}"\n')
    error = await failure(store, registry.add("app", "v1", IMAGE))
    assert "TLS failed" in str(error)
    assert registry.asked == [], "nothing is sent in the clear"
