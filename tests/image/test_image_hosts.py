"""hosts.toml, Docker's certificate layout, the old-style tables, and what applies where nothing is configured."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri.errors import FailedPrecondition, InvalidArgument
from cri.image.endpoint import Endpoint, default_endpoint, is_loopback, same_host
from cri.image.endpoints import endpoints_for
from cri.image.hosts import parse_duration, parse_hosts
from cri.image.mirrors import deprecations
from cri.image.settings import RegistryConfig, RegistryMirror, RegistrySettings, RegistryTls
from tests.image.conftest import write_hosts

CASES = int(os.environ.get("CRI_SHIM_PROPERTY_CASES", "1000"))
FULL = """
server = "https://registry.example"
skip_verify = true

[host."https://mirror-b.example:8443/path"]
  capabilities = ["pull"]
  ca = "b.crt"
  client = [["b.cert", "b.key"], "both.pem"]
  dial_timeout = "1m30s"
  [host."https://mirror-b.example:8443/path".header]
    x-token = ["one", "two"]
    x-other = "three"

[host."http://mirror-a.example/v2/proxy"]
  capabilities = ["pull", "resolve", "push"]
  override_path = true
  ca = ["/abs/a.crt", "rel.crt"]
"""


def test_everything_in_a_file() -> None:
    first, second, last = parse_hosts(FULL, "/c/registry.example/hosts.toml", "registry.example")
    assert first == Endpoint(
        scheme="https",
        host="mirror-b.example:8443",
        path="/path/v2",
        capabilities=frozenset({"pull"}),
        ca=("/c/registry.example/b.crt",),
        client=(
            ("/c/registry.example/b.cert", "/c/registry.example/b.key"),
            ("/c/registry.example/both.pem", "/c/registry.example/both.pem"),
        ),
        headers=(("x-token", "one"), ("x-token", "two"), ("x-other", "three")),
        dial_seconds=90.0,
    )
    assert (second.scheme, second.host, second.path) == ("http", "mirror-a.example", "/v2/proxy")
    assert second.ca == ("/abs/a.crt", "/c/registry.example/rel.crt")
    assert (last.host, last.skip_verify, last.path) == ("registry.example", True, "/v2")
    assert "one" not in repr(first), "configured headers may be secrets"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("server = [", "wrong"),
        ("server = 5", "server"),
        ('[host."ftp://x"]', "not an http or https URL"),
        ('[host."https://u@x"]', "credentials do not belong"),
        ('capabilities = ["pul"]', "unknown capability 'pul'"),
        ('dial_timeout = "soon"', "not a duration"),
        ('client = [["a", "b", "c"]]', "pair of certificate"),
        ('[header]\n"x y" = "z"', "not valid in HTTP"),
        ('[header]\nx = "a\\r\\nb: c"', "not valid in HTTP"),
        ('skip_verify = "yes"', "skip_verify"),
    ],
)
def test_a_wrong_file_fails_the_pull_and_is_named(text: str, complaint: str) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        parse_hosts(text, "/c/r.example/hosts.toml", "r.example")
    assert "/c/r.example/hosts.toml" in str(caught.value)
    assert complaint in str(caught.value)


def test_credentials_in_a_url_are_not_repeated() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        parse_hosts('[host."https://user:hunter2@x"]', "/c/r/hosts.toml", "r")
    assert "hunter2" not in str(caught.value)


def test_the_directory_of_a_host(certs: Path) -> None:
    write_hosts(certs, "_default", 'server = "https://default.example"')
    write_hosts(certs, "r.example", 'server = "https://one.example"')
    write_hosts(certs, "r.example:5000", 'server = "https://two.example"')
    settings_ = RegistrySettings(config_path=f"/nonexistent:{certs}")

    def host(domain: str) -> str:
        return endpoints_for(domain, settings_)[-1].host

    assert host("r.example") == "one.example"
    assert host("r.example:5000") == "two.example"
    assert host("r.example:5001") == "default.example"
    assert host("docker.io") == "default.example"


def test_without_server_the_registry_itself_comes_last(certs: Path) -> None:
    write_hosts(certs, "docker.io", '[host."https://mirror.example"]')
    hosts = [endpoint.host for endpoint in endpoints_for("docker.io", RegistrySettings(str(certs)))]
    assert hosts == ["mirror.example", "registry-1.docker.io"]


def test_dockers_certificate_layout(certs: Path) -> None:
    directory = certs / "r.example"
    directory.mkdir()
    for name in ("ca.crt", "me.cert", "me.key", "notes.txt"):
        (directory / name).write_text("")
    (endpoint,) = endpoints_for("r.example", RegistrySettings(str(certs)))
    assert endpoint.ca == (str(directory / "ca.crt"),)
    assert endpoint.client == ((str(directory / "me.cert"), str(directory / "me.key")),)


@pytest.mark.parametrize(
    ("domain", "scheme", "host", "fallback"),
    [
        ("docker.io", "https", "registry-1.docker.io", False),
        ("r.example:5000", "https", "r.example:5000", False),
        ("localhost", "https", "localhost", False),
        ("localhost:5000", "https", "localhost:5000", True),
        ("127.0.0.1:443", "https", "127.0.0.1:443", False),
        ("[::1]:5000", "https", "[::1]:5000", True),
        ("127.1.2.3:80", "http", "127.1.2.3:80", False),
        ("10.0.0.1:80", "https", "10.0.0.1:80", False),
    ],
)
def test_nothing_configured(domain: str, scheme: str, host: str, *, fallback: bool) -> None:
    endpoint = default_endpoint(domain)
    assert (endpoint.scheme, endpoint.host, endpoint.http_fallback) == (scheme, host, fallback)


def test_old_style_mirrors_and_tls(tmp_path: Path) -> None:
    old = RegistrySettings(
        config_path=str(tmp_path),
        mirrors={
            "docker.io": RegistryMirror(
                ("https://mirror.example", "localhost:5000", "http://plain.example/x")
            ),
            "*": RegistryMirror(("https://any.example",)),
        },
        configs={
            "mirror.example": RegistryConfig(tls=RegistryTls(ca_file="/ca", cert_file="/c", key_file="/k")),
            "r.example": RegistryConfig(tls=RegistryTls(insecure_skip_verify=True)),
        },
    )
    endpoints = endpoints_for("docker.io", old)
    assert [endpoint.url for endpoint in endpoints] == [
        "https://mirror.example/v2",
        "http://localhost:5000/v2",
        "http://plain.example/x",
        "https://registry-1.docker.io/v2",
    ]
    assert (endpoints[0].ca, endpoints[0].client) == (("/ca",), (("/c", "/k"),))
    any_host = endpoints_for("r.example", old)
    assert [endpoint.host for endpoint in any_host] == ["any.example", "r.example"]
    assert any_host[1].skip_verify
    lines = deprecations(old)
    assert len(lines) == 4, lines
    assert all("deprecated" in line and "hosts.toml" in line for line in lines)


def test_a_mirror_that_is_the_registry_is_asked_once(tmp_path: Path) -> None:
    old = RegistrySettings(str(tmp_path), mirrors={"r.example": RegistryMirror(("http://r.example",))})
    assert [endpoint.url for endpoint in endpoints_for("r.example", old)] == ["http://r.example/v2"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("docker.io", "registry-1.docker.io", True),
        ("index.docker.io", "docker.io", True),
        ("r.example", "R.example:443", True),
        ("r.example", "r.example:5000", False),
        ("r.example", "evil-r.example", False),
        ("[::1]:5000", "[::1]:5000", True),
    ],
)
def test_whether_two_names_are_one_host(one: str, other: str, *, same: bool) -> None:
    assert same_host(one, other) is same


def test_the_host_that_serves_a_domain_or_not() -> None:
    assert default_endpoint("docker.io").serves("docker.io")
    assert not Endpoint("https", "mirror.example").serves("docker.io")


def test_loopback() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.9.9.9:1", "[::1]", "[::1]:80", "LOCALHOST:5"))
    assert not any(is_loopback(host) for host in ("localhost.example", "10.0.0.1", "[::2]:80", "127.example"))


def test_durations() -> None:
    assert parse_duration("1h2m3.5s") == 3723.5
    assert parse_duration("250ms") == 0.25
    for wrong in ("", "5", "s", "1m 3s", "-1s"):
        with pytest.raises(InvalidArgument):
            parse_duration(wrong)


hosts = st.builds(
    "{}.{}{}".format,
    st.sampled_from(["a", "mirror", "x-y", "r0"]),
    st.sampled_from(["example", "co.example"]),
    st.sampled_from(["", ":5000", ":80"]),
)
tables = st.lists(
    st.tuples(
        st.sampled_from(["http", "https"]),
        hosts,
        st.sampled_from(["", "/", "/sub", "/v2", "/sub/v2"]),
        st.booleans(),
        st.sampled_from([[], ["pull"], ["resolve"], ["pull", "resolve"], ["push"]]),
    ),
    max_size=5,
    unique_by=lambda table: table[:3],
)


@pytest.mark.timeout(600)
@settings(max_examples=CASES, deadline=None)
@given(tables, st.one_of(st.just(""), hosts), hosts)
def test_any_file_resolves_in_its_order(
    mirrors: list[tuple[str, str, str, bool, list[str]]], server: str, domain: str
) -> None:
    lines = [f'server = "{server}"'] if server else []
    for scheme, host, path, override, capabilities in mirrors:
        lines.append(f'[host."{scheme}://{host}{path}"]')
        lines.append(f"capabilities = {capabilities}".replace("'", '"'))
        lines.append(f"override_path = {str(override).lower()}")
    endpoints = parse_hosts("\n".join(lines), "/c/x/hosts.toml", domain)
    assert [endpoint.host for endpoint in endpoints] == [host for _, host, *_ in mirrors] + [server or domain]
    for endpoint, (scheme, _, path, override, capabilities) in zip(endpoints, mirrors, strict=False):
        assert endpoint.scheme == scheme
        assert not endpoint.url.endswith("/"), endpoint.url
        assert endpoint.path.endswith("/v2") or override, endpoint
        assert not override or endpoint.path == path.rstrip("/")
        expected = set(capabilities) & {"pull", "resolve"} if capabilities else {"pull", "resolve"}
        assert endpoint.capabilities == expected


places = st.sampled_from(["r.example", "r.example:5000", "r.example_5000_", "_default", "other.example"])
layouts = st.lists(
    st.dictionaries(places, st.sampled_from(["server", "empty", "certificates"]), max_size=5),
    min_size=1,
    max_size=3,
)
RANKS = {
    "r.example": ["r.example", "_default"],
    "r.example:5000": ["r.example_5000_", "r.example:5000", "_default"],
    "far.example": ["_default"],
}


@pytest.mark.timeout(900)
@settings(max_examples=max(CASES // 10, 100), deadline=None)  # each makes real directories
@given(layouts, st.sampled_from(sorted(RANKS)))
def test_the_first_directory_that_fits_decides(layout: list[dict[str, str]], domain: str) -> None:
    """In the first tree that has any, the most particular one; `_default` comes before the next tree."""
    with tempfile.TemporaryDirectory() as directory:
        trees = []
        for number, content in enumerate(layout):
            tree = Path(directory, str(number))
            trees.append(str(tree))
            for place, kind in content.items():
                (tree / place).mkdir(parents=True)
                if kind == "server":
                    text = f'server = "https://tree-{number}.example/{place.replace(":", "-")}"\n'
                    (tree / place / "hosts.toml").write_text(text)
                elif kind == "empty":
                    (tree / place / "hosts.toml").write_text("\n")
        fitting = [
            (number, place)
            for number, content in enumerate(layout)
            for place in RANKS[domain]
            if place in content
        ]
        (endpoint,) = endpoints_for(domain, RegistrySettings(config_path=":".join(["/nonexistent", *trees])))
    if fitting and layout[fitting[0][0]][fitting[0][1]] == "server":
        number, place = fitting[0]
        assert endpoint.url == f"https://tree-{number}.example/{place.replace(':', '-')}/v2"
    else:
        assert endpoint.url == default_endpoint(domain).url, "nothing says otherwise"
