"""Manifests, configs, platforms, chain IDs, proxies: the pure parts, by example."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.errors import CriError, FailedPrecondition, Unimplemented
from cri.image.chain import chain_ids
from cri.image.documents import choose
from cri.image.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    BlobDescriptor,
    DocumentPlatform,
    Index,
    Manifest,
    parse_config,
    parse_document,
)
from cri.image.platform import Platform, normalised
from cri.image.proxy import proxy_for
from tests.image.made_images import digest_of, image_of

SHA = "sha256:" + "0" * 64


def entry(text: str, number: int = 0) -> BlobDescriptor:
    parts = [*text.split("/"), ""] if text else []
    platform = DocumentPlatform(*parts[:3]) if parts else None
    return BlobDescriptor(OCI_MANIFEST, f"sha256:{number:064x}", 10, platform=platform)


@pytest.mark.parametrize(
    ("host", "available", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64", ["linux/amd64/v3", "linux/386"], "linux/386"),
        ("linux/amd64", ["windows/amd64"], None),
        ("linux/amd64", ["unknown/unknown", ""], ""),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v5", "linux/arm64"], "linux/arm/v6"),
        ("linux/arm/v7", ["linux/arm"], "linux/arm"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/riscv64", ["linux/riscv64", "linux/amd64"], "linux/riscv64"),
    ],
)
def test_platform_choice(host: str, available: list[str], chosen: str | None) -> None:
    entries = [entry(text, number) for number, text in enumerate(available)]
    found = choose(entries, Platform(*host.split("/")))
    expected = entries[available.index(chosen)] if chosen is not None else None
    assert (found[0] if found else None) == expected


def test_platforms_have_one_spelling() -> None:
    assert normalised(Platform("Linux", "x86_64")) == Platform("linux", "amd64")
    assert normalised(Platform("linux", "aarch64", "v8")) == Platform("linux", "arm64")
    assert normalised(Platform("linux", "arm", "7")) == Platform("linux", "arm", "v7")


def test_an_untyped_document_is_known_by_its_fields() -> None:
    image = image_of(b"one")
    bare = json.loads(image.manifest.data)
    del bare["mediaType"]
    kind, manifest = parse_document(json.dumps(bare).encode(), "application/json", "x")
    assert kind == OCI_MANIFEST
    assert isinstance(manifest, Manifest)
    kind, index = parse_document(b'{"schemaVersion": 2, "manifests": []}', "text/plain; charset=utf-8", "x")
    assert kind == OCI_INDEX
    assert isinstance(index, Index)


@pytest.mark.parametrize(
    ("sent_as", "document", "error"),
    [
        (
            OCI_INDEX,
            {"config": {"mediaType": "x", "digest": SHA, "size": 1}, "layers": []},
            FailedPrecondition,
        ),
        (DOCKER_MANIFEST, {"manifests": []}, FailedPrecondition),
        (DOCKER_MANIFEST, {"mediaType": OCI_MANIFEST, "layers": []}, FailedPrecondition),
        (
            DOCKER_INDEX,
            {"manifests": [{"mediaType": "x", "digest": "sha256:0", "size": 1}]},
            FailedPrecondition,
        ),
        (DOCKER_INDEX, {"manifests": [{"mediaType": "x", "digest": SHA, "size": -1}]}, FailedPrecondition),
        (OCI_MANIFEST, {"layers": []}, FailedPrecondition),
        (OCI_MANIFEST, {"schemaVersion": 1}, Unimplemented),
        (OCI_MANIFEST, {"config": {"mediaType": "a/b", "digest": SHA, "size": 1}}, Unimplemented),
        (OCI_MANIFEST, [], FailedPrecondition),
        (OCI_MANIFEST, {"layers": "many"}, FailedPrecondition),
    ],
)
def test_documents_that_are_refused(sent_as: str, document: object, error: type[CriError]) -> None:
    with pytest.raises(error, match="^name"):
        parse_document(json.dumps(document).encode(), sent_as, "name")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "config",
                        "layers",
                        "manifests",
                        "digest",
                        "size",
                        "mediaType",
                        "rootfs",
                        "diff_ids",
                        "Env",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_no_document_brings_down_the_parser(document: object) -> None:
    body = json.dumps(document).encode()
    for parse in (lambda: parse_document(body, "", "x"), lambda: parse_config(body, "x")):
        try:
            parse()
        except CriError:
            pass


def test_deep_nesting_is_refused_not_fatal() -> None:
    with pytest.raises(FailedPrecondition):
        parse_document(b'{"x":' * 100_000 + b"1" + b"}" * 100_000, "", "x")


def test_a_config_of_nulls() -> None:
    config = parse_config(
        b'{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"User":"app:grp"},"rootfs":{"diff_ids":null}}',
        "x",
    )
    assert (config.env, config.cmd, config.diff_ids) == ((), (), ())
    assert (config.uid, config.username) == (None, "app")


def test_chain_ids() -> None:
    assert chain_ids([]) == ()
    assert chain_ids([SHA]) == (SHA,)
    first, second = chain_ids([SHA, SHA])
    assert first == SHA
    assert second == digest_of(f"{SHA} {SHA}".encode())


ENVIRONMENT = {
    "HTTP_PROXY": "http://proxy:3128",
    "HTTPS_PROXY": "secure-proxy:3129",
    "NO_PROXY": "10.0.0.0/8, .internal.example,exact.example:8443,*.star.example,[fd00::1],plain.example",
}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://r.example/x", "http://proxy:3128"),
        ("https://r.example/x", "http://secure-proxy:3129"),
        ("https://localhost:5000/x", None),
        ("https://127.0.0.1/x", None),
        ("https://10.1.2.3:5000/x", None),
        ("https://11.1.2.3/x", "http://secure-proxy:3129"),
        ("https://a.internal.example/x", None),
        ("https://internal.example/x", "http://secure-proxy:3129"),
        ("https://exact.example:8443/x", None),
        ("https://exact.example/x", "http://secure-proxy:3129"),
        ("https://a.star.example/x", None),
        ("https://plain.example/x", None),
        ("https://sub.plain.example/x", None),
        ("https://notplain.example/x", "http://secure-proxy:3129"),
        ("https://[fd00::1]:5000/x", None),
        ("https://[fd00::2]:5000/x", "http://secure-proxy:3129"),
    ],
)
def test_proxies(url: str, proxy: str | None) -> None:
    assert proxy_for(url, ENVIRONMENT) == proxy


def test_no_proxy_for_anything() -> None:
    assert proxy_for("https://r.example", ENVIRONMENT | {"NO_PROXY": "*"}) is None
    assert proxy_for("https://r.example", {}) is None
    assert proxy_for("https://r.example", {"https_proxy": "http://p"}) == "http://p"
