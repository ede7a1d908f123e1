"""Who a pull is made as: every kind of credentials, from request and configuration, and that none of them is told."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import grpc
import pytest
from aiohttp import web

from api.wire import criv1
from e2e.harness.catalogue import scratch
from e2e.harness.certs import write_mirror
from e2e.harness.configured import configured
from e2e.harness.exposition import exposition
from e2e.harness.image_service import known, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.registry import Login, registry, self_signed
from e2e.harness.scripted_registry import demand_password, refusal, scripted_registry
from tests.image.token_server import TokenServer

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import Fault, ScriptedRegistry

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

IMAGE = scratch(b"private")
LOGIN = Login(
    "harbour", "htpasswd-secret", "harbour:$2b$04$OPqdjcZw1PZJ7WCm29jM/.3n8C1scjwzYBmE7lcH2Oj/vMiGwXlwy"
)
TOKEN = "bearer-secret-0123456789"


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def demand_bearer(server: TokenServer, *, tokens: tuple[str, ...] = (TOKEN,)) -> Fault:
    """Everything wants one of the tokens, which `server` issues."""
    allowed = [f"Bearer {token}" for token in tokens]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") in allowed:
            return None
        challenge = f'Bearer realm="{server.realm}",service="tests"'
        return refusal(401, "UNAUTHORIZED", "token required", {"WWW-Authenticate": challenge})

    return fault


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_private_registry_with_htpasswd(node: Node, tmp_path: Path, secure: bool) -> None:
    certificate = await self_signed(tmp_path / "tls") if secure else None
    async with registry(tmp_path / "private", certificate, LOGIN) as private:
        await push(private, "team/app", "1", IMAGE)
        write_mirror(node.certs_directory, private.host, private)
        reference = f"{private.host}/team/app:1"
        for auth in (
            criv1.AuthConfig(username=LOGIN.user, password=LOGIN.password),
            criv1.AuthConfig(auth=encoded(LOGIN.user, LOGIN.password)),
            criv1.AuthConfig(
                username=LOGIN.user, password=LOGIN.password, server_address=f"https://{private.host}/v2/"
            ),
        ):
            assert await pull(node.cri, reference, auth) == IMAGE.config.digest
            await remove(node.cri, reference)
            await collect_garbage(node.containerd.address)
        for wrong in (
            None,
            criv1.AuthConfig(username=LOGIN.user, password="wrong-secret"),
            criv1.AuthConfig(
                username=LOGIN.user, password=LOGIN.password, server_address="elsewhere.invalid"
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pull(node.cri, reference, wrong)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert private.host in str(refused.value.details())
            assert "-secret" not in str(refused.value.details())
    assert await known(node.cri, reference) is None


async def test_credentials_of_the_configuration(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", IMAGE)
    scripted.faults.append(demand_password("configured", "configured-secret"))
    table = f"""
[registry.configs."{scripted.host}".auth]
username = "configured"
password = "configured-secret"
"""
    async with configured(node, tables=table):
        assert await pull(node.cri, reference) == IMAGE.config.digest


async def test_tokens_by_get_and_by_post(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", IMAGE)
    password = criv1.AuthConfig(username="user", password="token-server-secret")
    identity = criv1.AuthConfig(identity_token="identity-secret")
    for server, auth, method in (
        (TokenServer(TOKEN), None, "GET"),
        (TokenServer(TOKEN, ("user", "token-server-secret"), answer_key="access_token"), password, "GET"),
        (TokenServer(TOKEN, ("user", "token-server-secret"), post_only=True), password, "POST"),
        (TokenServer(TOKEN, refresh_token="identity-secret"), identity, "POST"),
    ):
        async with server:
            scripted.faults[:] = [demand_bearer(server)]
            assert await pull(node.cri, reference, auth) == IMAGE.config.digest
            assert server.asked[-1][0] == method
            assert server.asked[-1][1]["scope"] == "repository:t/private:pull"
            assert len({str(asked) for asked in server.asked}) == len(server.asked), "a token is kept"
        await remove(node.cri, reference)
        await collect_garbage(node.containerd.address)


async def test_a_registry_token_is_used_as_it_is(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", IMAGE)
    async with TokenServer("never-asked") as server:
        scripted.faults.append(demand_bearer(server))
        auth = criv1.AuthConfig(registry_token=TOKEN)
        assert await pull(node.cri, reference, auth) == IMAGE.config.digest
        assert server.asked == []


async def test_a_token_that_ends_in_mid_pull_is_fetched_again(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", IMAGE)
    async with TokenServer("first-secret") as server:
        current = ["first-secret"]

        async def fault(request: web.Request) -> web.StreamResponse | None:
            if "/blobs/" in request.path:
                server.token = current[0] = "second-secret"
            return await demand_bearer(server, tokens=(current[0],))(request)

        scripted.faults.append(fault)
        assert await pull(node.cri, reference) == IMAGE.config.digest
        assert len(server.asked) == 2


async def test_challenges_of_every_kind_are_explained(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", IMAGE)
    for challenge in ("", "Negotiate", 'Digest realm="x"', "Bearer", 'Bearer realm="not a url"'):

        async def fault(_: web.Request, challenge: str = challenge) -> web.StreamResponse | None:
            headers = {"WWW-Authenticate": challenge} if challenge else {}
            return refusal(401, "UNAUTHORIZED", "no", headers)

        scripted.faults[:] = [fault]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pull(node.cri, reference)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, challenge


async def test_a_redirect_to_a_blob_store_gets_no_credentials(node: Node, scripted: ScriptedRegistry) -> None:
    layer = IMAGE.layers[0].blob
    sent: list[dict[str, str]] = []
    async with scripted_registry() as store:
        store.hold("t/private", "1", IMAGE)

        async def note(request: web.Request) -> web.StreamResponse | None:
            sent.append(dict(request.headers))
            return None

        store.faults.append(note)
        reference = scripted.hold("t/private", "1", IMAGE)
        demand = demand_password("user", "redirected-secret")

        async def redirect(request: web.Request) -> web.StreamResponse | None:
            refused = await demand(request)
            if refused is not None or not request.path.endswith(layer.digest):
                return refused
            return web.Response(
                status=307,
                headers={
                    "Location": f"http://{store.host}/v2/x/blobs/{layer.digest}?signature=signed-secret"
                },
            )

        scripted.faults.append(redirect)
        auth = criv1.AuthConfig(username="user", password="redirected-secret")
        assert await pull(node.cri, reference, auth) == IMAGE.config.digest
    assert len(sent) == 1
    assert "Authorization" not in sent[0]


async def test_no_secret_was_told_anywhere(node: Node) -> None:
    """After all of the above: neither log, nor metrics, nor containerd's records have one."""
    told = {
        "server's log": node.server.log_file.read_text(),
        "containerd's log": node.containerd.layout.log_file.read_text(),
        "metrics": await exposition(node.server),
    }
    for place, text in told.items():
        for secret in (LOGIN.password, encoded(LOGIN.user, LOGIN.password), TOKEN, "-secret", "signature="):
            assert secret not in text, f"{secret} is in the {place}"
