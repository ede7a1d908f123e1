"""References: Docker's normalisation, every part refused by its name, and properties over generated ones."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri.errors import InvalidArgument
from cri.image.reference import id_prefix, is_repo_digest, is_repo_tag, parse

CASES = int(os.environ.get("CRI_SHIM_PROPERTY_CASES", "1000"))
SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/team/app", "docker.io/team/app:latest"),
        ("team/app", "docker.io/team/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry.example/app", "registry.example/app:latest"),
        ("registry.example:5000/a/b/c:v1", "registry.example:5000/a/b/c:v1"),
        ("Registry/app", "Registry/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[2001:db8::1]/app:x", "[2001:db8::1]/app:x"),
        ("10.0.0.1:80/app", "10.0.0.1:80/app:latest"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}"),
        (f"busybox:1.36@{SHA}", f"docker.io/library/busybox@{SHA}"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
        ("app:_tag", "docker.io/library/app:_tag"),
    ],
)
def test_normalisation(text: str, normalised: str) -> None:
    assert str(parse(text)) == normalised


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("UPPER", "repository: 'UPPER' has upper-case"),
        ("a//b", "repository: a part of it is empty"),
        ("app:", "tag:"),
        ("app:-x", "tag:"),
        ("app:" + "t" * 129, "tag:"),
        ("app@sha256:12", "digest: sha256 takes 64"),
        ("app@md5:" + "0" * 32, "digest: algorithm 'md5'"),
        (f"app@{SHA.upper()}", "digest"),
        ("app@", "digest"),
        ("-bad.example/app", "registry"),
        ("host:99999/app", "registry: port 99999"),
        ("a..b/app", "registry"),
        ("registry.example/a b", "repository"),
        ("registry.example/../etc/passwd", "repository"),
        ("registry.example/app\n", "repository"),
        ("http://registry.example/app", "registry"),
        ("0" * 64, "image id"),
        ("r.example/" + "a" * 250, "longer than 255"),
        ("a" * 100_000, "length"),
    ],
)
def test_the_wrong_part_is_named(text: str, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 700, "a hostile reference is not echoed at length"


word = st.sampled_from(["a", "b0", "x-y", "Registry", "abc", "0", "z9z"])
port = st.sampled_from(["", ":0", ":80", ":5000", ":65535"])
domain = st.one_of(
    st.builds("{}.{}{}".format, word, word, port),
    st.sampled_from(
        ["localhost", "localhost:1", "[::1]", "[2001:DB8::1]:5000", "10.0.0.1", "127.0.0.1:80", "X"]
    ),
)
name = st.sampled_from(["a", "library", "0", "a.b", "c_d", "e__f", "g-h", "i---j", "k0.1-2"])
path = st.lists(name, min_size=1, max_size=4).map("/".join)
tag = st.sampled_from(["latest", "_", "1.36", "V1", "a-b", "t" * 128])
digest = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")


@pytest.mark.timeout(600)
@settings(max_examples=CASES, deadline=None)
@given(domain, path, st.one_of(st.none(), tag), st.one_of(st.none(), digest))
def test_well_formed_references_are_taken_apart(
    domain: str, path: str, tag: str | None, digest: str | None
) -> None:
    text = f"{domain}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    reference = parse(text)
    assert reference.domain == domain
    assert reference.path == path
    assert reference.digest == (digest or "")
    assert reference.tag == ("" if digest else tag or "latest")
    assert parse(str(reference)) == reference, "normalising again changes nothing"
    assert is_repo_digest(str(reference)) == bool(digest)
    assert is_repo_tag(str(reference)) != bool(digest)


@pytest.mark.timeout(600)
@settings(max_examples=CASES, deadline=None)
@given(st.text(alphabet="aZ0./:@[]_- \n\u00e9%?#\\", max_size=60))
def test_anything_else_is_refused_or_safe(text: str) -> None:
    """Whatever is accepted can go into URLs, file names and labels without a second thought."""
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(str(reference)) == reference
    assert ".." not in reference.domain.split("/")
    assert all(part and part.strip(".") for part in reference.path.split("/")), reference
    assert str(reference).isascii()
    assert not set(str(reference)) & set(" \n%?#\\"), reference


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("abcd", "sha256:abcd"),
        ("sha256:abcd", "sha256:abcd"),
        ("abc", ""),
        ("ABCD", ""),
        ("abcx", ""),
        ("f" * 64, "sha256:" + "f" * 64),
        ("f" * 65, ""),
    ],
)
def test_beginnings_of_ids(text: str, prefix: str) -> None:
    assert id_prefix(text) == prefix
