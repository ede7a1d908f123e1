"""Where images come from: TLS that holds or not, mirrors that work or not, redirects, the old-style configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest
from aiohttp import web

from e2e.harness.catalogue import layered, scratch
from e2e.harness.configured import configured
from e2e.harness.forward_proxy import forward_proxy
from e2e.harness.image_service import pull, remove
from e2e.harness.push import push
from e2e.harness.registry import Certificate, Registry, free_port, registry
from e2e.harness.scripted_registry import cut_off, refuse, replace_blob, scripted_registry
from tests.image.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import ScriptedRegistry

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

IMAGE = scratch(b"from somewhere")


def write_hosts(node: Node, name: str, text: str) -> None:
    directory = node.certs_directory / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(text)


@pytest.mark.parametrize(
    ("name", "address", "days", "reason"),
    [
        ("good", "127.0.0.1", 2, ""),
        ("expired", "127.0.0.1", -1, "expired"),
        ("elsewhere", "127.0.0.2", 2, "IP address mismatch"),
    ],
)
async def test_a_certificate_is_checked(
    node: Node, tmp_path: Path, name: str, address: str, days: int, reason: str
) -> None:
    authority = Authority.make(tmp_path / "ca")
    certificate = Certificate(*authority.sign(name, address=address, days=days))
    async with registry(tmp_path / "tls", certificate) as secure:
        own = f'server = "{secure.url}"\nca = {json.dumps(str(authority.certificate))}\n'
        write_hosts(node, f"{name}.invalid", f"{own}skip_verify = true\n")
        if reason:
            write_hosts(node, f"{name}.invalid", own)
            with pytest.raises(grpc.aio.AioRpcError, match=f"(?i){reason}"):
                await pull(node.cri, f"{name}.invalid/t/first:1")
            return
        await push(
            Registry(secure.host, Certificate(authority.certificate, certificate.key)), "t/first", "1", IMAGE
        )
        write_hosts(node, f"{name}.invalid", f'server = "{secure.url}"\n')
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)not trusted.*ca and skip_verify"):
            await pull(node.cri, f"{name}.invalid/t/first:1")
        write_hosts(node, f"{name}.invalid", own)
        assert await pull(node.cri, f"{name}.invalid/t/first:1") == IMAGE.config.digest


async def test_mirrors_are_asked_in_order(node: Node, scripted: ScriptedRegistry) -> None:
    """The first is down, the second has not the image, the third sends a broken layer, the fourth has it."""
    layer = IMAGE.layers[0].blob
    async with scripted_registry() as lacking, scripted_registry() as corrupt:
        corrupt.hold("t/first", "1", IMAGE)
        corrupt.faults.append(replace_blob(layer.digest, bytes(len(layer.content))))
        scripted.hold("t/first", "1", IMAGE)
        down = f"127.0.0.1:{free_port()}"
        mirrors = "".join(
            f'[host."http://{host}"]\ncapabilities = ["pull", "resolve"]\n'
            for host in (down, lacking.host, corrupt.host, scripted.host)
        )
        write_hosts(node, "ordered.invalid", f'server = "http://{down}"\n{mirrors}')
        assert await pull(node.cri, "ordered.invalid/t/first:1") == IMAGE.config.digest
        assert lacking.asked_for("/manifests/1") >= 1
        assert corrupt.asked_for(f"GET /v2/t/first/blobs/{layer.digest}") >= 1
        assert scripted.asked_for(f"GET /v2/t/first/blobs/{layer.digest}") == 1


async def test_when_all_mirrors_fail_each_is_named(node: Node) -> None:
    ports = [free_port(), free_port()]
    mirrors = "".join(f'[host."http://127.0.0.1:{port}"]\n' for port in ports)
    write_hosts(node, "down.invalid", f'server = "http://127.0.0.1:{ports[0]}"\n{mirrors}')
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(node.cri, "down.invalid/t/first:1")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert str(refused.value.details()).startswith("RegistryUnavailable")
    for port in ports:
        assert f"127.0.0.1:{port}" in str(refused.value.details())


async def test_headers_path_and_default_directory(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/first", "1", IMAGE)
    seen: set[tuple[str, str]] = set()

    async def rewrite(request: web.Request) -> web.StreamResponse | None:
        seen.add((request.headers.get("X-Team", ""), request.query.get("ns", "")))
        if not request.path.startswith("/proxied/"):
            return web.Response(status=404)
        found = scripted.manifests.get(request.path.removeprefix("/proxied/").replace("/manifests/", "/"))
        found = found or scripted.blobs.get(request.path.rpartition("/")[2])
        assert found is not None, request.path
        return web.Response(body=found.content, headers={"Content-Type": found.media_type})

    scripted.faults.append(rewrite)
    write_hosts(
        node,
        "_default",
        f'[host."http://{scripted.host}/proxied"]\noverride_path = true\n'
        f'[host."http://{scripted.host}/proxied".header]\nx-team = "blue"\n',
    )
    try:
        assert await pull(node.cri, "anything.invalid/t/first:1") == IMAGE.config.digest
    finally:
        (node.certs_directory / "_default" / "hosts.toml").unlink()
        (node.certs_directory / "_default").rmdir()
    assert seen == {("blue", "anything.invalid")}
    assert reference


async def test_a_wrong_hosts_toml_is_named(node: Node) -> None:
    write_hosts(node, "wrong.invalid", "server = 5\n")
    with pytest.raises(grpc.aio.AioRpcError, match=r"wrong\.invalid/hosts\.toml is wrong"):
        await pull(node.cri, "wrong.invalid/t/first:1")


async def test_the_old_style_configuration_works_and_says_so(node: Node, scripted: ScriptedRegistry) -> None:
    scripted.hold("t/first", "1", IMAGE)
    server = node.server
    tables = f"""
[registry.mirrors."old.invalid"]
endpoint = ["http://{scripted.host}"]
[registry.mirrors."{node.registry.host}"]
endpoint = ["{node.registry.url}"]
"""
    text = server.log_file.read_text()
    async with configured(node, tables=tables, without=("config_path",)):
        assert await pull(node.cri, "old.invalid/t/first:1") == IMAGE.config.digest
    said = server.log_file.read_text()[len(text) :].replace("\\", "")
    assert '[registry.mirrors."old.invalid"] is deprecated' in said


async def test_redirects_end(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/first", "1", IMAGE)

    async def around(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" not in request.path:
            return None
        return web.Response(
            status=302, headers={"Location": f"{request.path}?again={len(request.query_string)}"}
        )

    scripted.faults.append(around)
    with pytest.raises(grpc.aio.AioRpcError, match="redirects more than 10 times"):
        await pull(node.cri, reference)


async def test_a_connection_that_breaks_is_resumed_where_the_ingest_stands(
    node: Node, scripted: ScriptedRegistry
) -> None:
    image = layered(1, 3_000_000, seed=11)
    reference = scripted.hold("t/resumed", "1", image)
    scripted.faults.append(cut_off(image.layers[0].blob, times=1))
    assert await pull(node.cri, reference) == image.config.digest
    [resumed] = [line for line in scripted.requests if line.startswith("RANGE")]
    assert int(resumed.rpartition(" ")[2]) > 1_000_000


async def test_5xx_then_success(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/first", "1", IMAGE)
    scripted.faults.append(refuse("/manifests/", 500, "UNKNOWN", times=1))
    scripted.faults.append(refuse("/blobs/", 502, "UNKNOWN", times=1))
    assert await pull(node.cri, reference) == IMAGE.config.digest


async def test_a_proxy_from_the_environment(
    node: Node, scripted: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain HTTP in absolute form and TLS through a tunnel, to hosts that cannot be reached without the proxy."""
    scripted.hold("t/first", "1", IMAGE)
    authority = Authority.make(tmp_path / "ca")
    certificate = Certificate(*authority.sign("far", address="127.0.0.1,IP:192.0.2.1"))
    async with registry(tmp_path / "tls", certificate) as secure:
        await push(
            Registry(secure.host, Certificate(authority.certificate, certificate.key)), "t/first", "1", IMAGE
        )
        targets = {"plain.invalid:80": scripted.host, "192.0.2.1:443": secure.host}
        ca = json.dumps(str(authority.certificate))
        write_hosts(node, "plain.invalid", 'server = "http://plain.invalid"\n')
        write_hosts(node, "far.invalid", f'server = "https://192.0.2.1"\nca = {ca}\n')
        async with forward_proxy("someone:proxy-secret", targets) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("https_proxy", proxy.url)
            monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,direct.invalid")
            async with configured(node):
                for name in ("plain.invalid", "far.invalid"):
                    assert await pull(node.cri, f"{name}/t/first:1") == IMAGE.config.digest
                    await remove(node.cri, f"{name}/t/first:1")
                await pull(node.cri, scripted.hold("t/near", "1", IMAGE))
                with pytest.raises(grpc.aio.AioRpcError, match="name cannot be resolved"):
                    await pull(node.cri, "direct.invalid/t/first:1")
    assert "CONNECT 192.0.2.1:443" in proxy.asked
    assert "GET http://plain.invalid/v2/t/first/manifests/1" in proxy.asked
    assert not [line for line in proxy.asked if "127.0.0.1" in line or "direct" in line]
    assert "proxy-secret" not in node.server.log_file.read_text()
