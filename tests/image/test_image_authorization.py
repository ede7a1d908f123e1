"""Credentials: where they come from, whom they are sent to, what each challenge is answered with, what never shows."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from api.wire.criv1.image_pb2 import AuthConfig
from cri.errors import InvalidArgument, Unauthenticated
from cri.image import authorization
from cri.image.challenge import Challenge, parse_challenges
from cri.image.credentials import keyring
from cri.image.settings import RegistryAuth, RegistryConfig, RegistrySettings
from cri.image.store import ImageStore
from tests.image.conftest import MakeStore, write_hosts
from tests.image.made_images import TestImage, image_of
from tests.image.scripted_registry import ScriptedRegistry, redirect
from tests.image.token_server import TokenServer

SECRET = "correct-horse-battery"
USER = AuthConfig(username="ann", password=SECRET)


@pytest.fixture
def image() -> TestImage:
    return image_of(b"one", b"two")


@pytest_asyncio.fixture
async def tokens(registry: ScriptedRegistry) -> AsyncIterator[TokenServer]:
    async with TokenServer(f"token-{SECRET}", user=("ann", SECRET)) as server:
        registry.bearer, registry.realm = server.token, server.realm
        yield server


@pytest.fixture(autouse=True)
def no_secret_is_shown(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> object:
    yield
    out, err = capfd.readouterr()
    shown = out + err + caplog.text
    assert SECRET not in shown, "a secret is in the log"
    assert base64.b64encode(f"ann:{SECRET}".encode()).decode() not in shown, "a secret is in the log"


@pytest.mark.parametrize(
    "auth",
    [
        USER,
        AuthConfig(auth=base64.b64encode(f"ann:{SECRET}".encode()).decode()),
        AuthConfig(auth=base64.b64encode(f"ann:{SECRET}\0\0".encode()).decode().rstrip("=")),
    ],
)
async def test_basic(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, auth: AuthConfig
) -> None:
    registry.basic = ("ann", SECRET)
    assert await store.pull(registry.add("app", "v1", image), auth) == image.config.digest
    refused = [asked for asked in registry.asked if "authorization" not in asked.headers]
    assert len(refused) == 1, "only the first request has to be refused"


async def test_basic_from_the_configuration(
    make_store: MakeStore, registry: ScriptedRegistry, image: TestImage
) -> None:
    registry.basic = ("ann", SECRET)
    reference = registry.add("app", "v1", image)
    settings = RegistrySettings("", {registry.host: RegistryConfig(RegistryAuth("ann", SECRET))})
    assert SECRET not in repr(settings)
    store = await make_store(settings)
    assert await store.pull(reference) == image.config.digest


async def test_wrong_password(registry: ScriptedRegistry, store: ImageStore, image: TestImage) -> None:
    registry.basic = ("ann", "other")
    with pytest.raises(Unauthenticated, match="refuses the password of user 'ann'") as caught:
        await store.pull(registry.add("app", "v1", image), USER)
    assert SECRET not in repr(caught.value)


async def test_no_password(registry: ScriptedRegistry, store: ImageStore, image: TestImage) -> None:
    registry.basic = ("ann", SECRET)
    with pytest.raises(Unauthenticated, match="wants a user name and password"):
        await store.pull(registry.add("app", "v1", image))


async def test_a_token_is_fetched_once_for_a_pull(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    assert await store.pull(registry.add("team/app", "v1", image), USER) == image.config.digest
    assert len(tokens.asked) == 1, tokens.asked
    method, query = tokens.asked[0]
    assert method == "GET"
    assert (query["scope"], query["service"]) == ("repository:team/app:pull", "test")


async def test_an_anonymous_token(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    tokens.user, tokens.answer_key, tokens.expires_in = None, "access_token", None
    assert await store.pull(registry.add("app", "v1", image)) == image.config.digest


async def test_an_identity_token_is_changed_for_an_access_token(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    tokens.refresh_token = SECRET
    auth = AuthConfig(username="<token>", identity_token=SECRET)
    assert await store.pull(registry.add("app", "v1", image), auth) == image.config.digest
    (method, form), *rest = tokens.asked
    assert (method, form["grant_type"], rest) == ("POST", "refresh_token", [])


async def test_a_token_server_that_only_knows_post(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    tokens.post_only = True
    assert await store.pull(registry.add("app", "v1", image), USER) == image.config.digest
    assert [method for method, _ in tokens.asked] == ["GET", "POST"]


async def test_a_registry_token_is_sent_as_it_is(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    auth = AuthConfig(registry_token=tokens.token)
    assert await store.pull(registry.add("app", "v1", image), auth) == image.config.digest
    assert tokens.asked == []


async def test_a_refused_registry_token(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    with pytest.raises(Unauthenticated, match="refuses the registry token"):
        await store.pull(registry.add("app", "v1", image), AuthConfig(registry_token=f"x{SECRET}"))


async def test_a_token_that_ends_in_mid_pull_is_fetched_again(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    async def renew(request: web.Request) -> web.StreamResponse | None:
        registry.bearer = tokens.token = f"second-{SECRET}"
        return None

    registry.fault(f"GET */blobs/{image.layers[0].digest}", renew)
    assert await store.pull(registry.add("app", "v1", image), USER) == image.config.digest
    assert len(tokens.asked) == 2, tokens.asked


async def test_a_token_past_its_life_is_not_sent(
    registry: ScriptedRegistry,
    store: ImageStore,
    image: TestImage,
    tokens: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authorization, "_SAFETY", 1000.0)
    await store.pull(registry.add("app", "v1", image), USER)
    assert len(tokens.asked) >= 4, "each request fetched its own"
    refused = [asked for asked in registry.asked if asked.headers.get("authorization") is None]
    assert len(refused) == 1


async def test_wrong_credentials_at_the_token_server(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    tokens.user = ("ann", "other")
    with pytest.raises(Unauthenticated, match="token server 127.0.0.1:.* refuses with status 401"):
        await store.pull(registry.add("app", "v1", image), USER)


async def test_a_token_that_does_not_help(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, tokens: TokenServer
) -> None:
    registry.bearer = "another"
    with pytest.raises(Unauthenticated, match="does not exist, or needs"):
        await store.pull(registry.add("app", "v1", image), USER)


@pytest.mark.parametrize("challenge", ["Digest realm=x", "Negotiate", "Bearer service=x", ""])
async def test_challenges_that_cannot_be_answered(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, challenge: str
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    registry.fault("*", refuse, times=None)
    with pytest.raises(Unauthenticated, match="not Bearer or Basic"):
        await store.pull(registry.add("app", "v1", image), USER)


async def test_credentials_for_another_server_are_not_sent(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage
) -> None:
    registry.basic = ("ann", SECRET)
    elsewhere = AuthConfig(username="ann", password=SECRET, server_address="https://elsewhere.example/v1/")
    with pytest.raises(Unauthenticated, match="wants a user name"):
        await store.pull(registry.add("app", "v1", image), elsewhere)
    assert not [asked for asked in registry.asked if "authorization" in asked.headers]
    here = AuthConfig(username="ann", password=SECRET, server_address=f"http://{registry.host}/v2/")
    assert await store.pull(registry.add("app", "v1", image), here) == image.config.digest


async def test_a_redirect_gets_no_credentials_and_no_configured_header(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage, certs: Path
) -> None:
    registry.basic = ("ann", SECRET)
    reference = registry.add("app", "v1", image)
    write_hosts(certs, registry.host, f'server = "http://{registry.host}"\n[header]\nx-key = "{SECRET}"\n')
    async with ScriptedRegistry() as blobs:
        blobs.add("app", "v1", image)
        for layer in image.layers:
            path = f"/v2/app/blobs/{layer.digest}"
            registry.fault(f"GET {path}", redirect(f"http://{blobs.host}{path}?signature={SECRET}"))
        assert await store.pull(reference, USER) == image.config.digest
        assert len(blobs.asked) == 2
        for asked in blobs.asked:
            assert "authorization" not in asked.headers
            assert "x-key" not in asked.headers
    assert all(asked.headers.get("x-key") == SECRET for asked in registry.asked)


async def test_a_blob_store_that_refuses_keeps_its_signature_out_of_the_error(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage
) -> None:
    registry.fault("GET */blobs/*", redirect(f"http://127.0.0.1:9/x?signature={SECRET}"), times=None)
    with pytest.raises(Exception, match="Connection refused") as caught:
        await store.pull(registry.add("app", "v1", image))
    assert SECRET not in str(caught.value)


async def test_foreign_layers_come_from_their_url_without_credentials(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage
) -> None:
    registry.bearer = "registry-token"
    async with ScriptedRegistry() as foreign:
        layer = image.layers[1]
        foreign.blobs[layer.digest] = layer.data
        layer.media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        layer.extra = {"urls": [f"http://{foreign.host}/v2/x/blobs/{layer.digest}"]}
        from tests.image.made_images import manifest_of

        image.manifest = manifest_of(image.config, image.layers)
        reference = registry.add("app", "v1", image)
        del registry.blobs[layer.digest]
        auth = AuthConfig(registry_token="registry-token")
        assert await store.pull(reference, auth) == image.config.digest
        assert len(foreign.asked) == 1
        assert "authorization" not in foreign.asked[0].headers


async def test_pulls_with_other_credentials_are_not_joined(
    registry: ScriptedRegistry, store: ImageStore, image: TestImage
) -> None:
    registry.basic = ("ann", SECRET)
    reference = registry.add("app", "v1", image)
    allowed, refused = await asyncio.gather(
        store.pull(reference, USER), store.pull(reference), return_exceptions=True
    )
    assert allowed == image.config.digest
    assert isinstance(refused, Unauthenticated), refused


def test_requests_that_cannot_be_decoded() -> None:
    for auth in ("%%%", base64.b64encode(b"no colon").decode()):
        with pytest.raises(InvalidArgument, match=r"AuthConfig.auth is not base64") as caught:
            keyring(AuthConfig(auth=auth), {})
        assert auth not in str(caught.value)


def test_docker_hub_goes_by_several_names() -> None:
    ring = keyring(
        AuthConfig(username="ann", password=SECRET, server_address="https://index.docker.io/v1/"), {}
    )
    assert ring.credentials("registry-1.docker.io").username == "ann"
    assert ring.credentials("mirror.example").anonymous
    assert SECRET not in repr(ring)


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        (
            ['Bearer realm="https://a/b?c=d,e",service="s x",scope="repository:a:pull,push"'],
            [("bearer", {"realm": "https://a/b?c=d,e", "service": "s x", "scope": "repository:a:pull,push"})],
        ),
        (["Basic realm=x, Bearer realm=y"], [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (["Negotiate", 'BASIC Realm="a\\"b"'], [("negotiate", {}), ("basic", {"realm": 'a"b'})]),
        (["", "   ", ",,,", '"'], []),
    ],
)
def test_challenges_are_taken_apart(headers: list[str], challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(headers) == [Challenge(scheme, values) for scheme, values in challenges]
