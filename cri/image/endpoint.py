"""A place that serves a registry's content: the registry itself or a mirror of it, and how to talk to it. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from cri.errors import InvalidArgument
from cri.image.reference import DEFAULT_DOMAIN

Capability = Literal["pull", "resolve"]
PULL_AND_RESOLVE: Final[frozenset[Capability]] = frozenset({"pull", "resolve"})

_DOCKER_HUB = "registry-1.docker.io"
_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
DIAL_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server to ask, in the order given; `url` is where `/<repository>/manifests/...` is appended.

    A host may serve blobs and digests (`pull`) without being trusted to say what a tag means (`resolve`).
    `http_fallback` marks the loopback hosts nobody configured: TLS is tried first, then plain HTTP.
    """

    scheme: str
    host: str
    """Host with its port if one was given, as in a URL: `[::1]:5000`."""
    path: str = "/v2"
    capabilities: frozenset[Capability] = PULL_AND_RESOLVE
    ca: tuple[str, ...] = ()
    """PEM files that are trusted beside the system's."""
    client: tuple[tuple[str, str], ...] = ()
    """Pairs of certificate and key file; one file may be both."""
    skip_verify: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dial_seconds: float = DIAL_SECONDS
    http_fallback: bool = False

    @property
    def url(self) -> str:
        """The API root, without a slash at its end."""
        return f"{self.scheme}://{self.host}{self.path}"

    def serves(self, domain: str) -> bool:
        """Whether this is the registry `domain` itself; a mirror must be told whose content is meant."""
        return self.host == domain or (domain == DEFAULT_DOMAIN and self.host == _DOCKER_HUB)


def default_endpoint(domain: str) -> Endpoint:
    """The registry itself where nothing is configured: HTTPS, and plain HTTP only on loopback."""
    if domain == DEFAULT_DOMAIN:
        return Endpoint("https", _DOCKER_HUB)
    if not is_loopback(domain):
        return Endpoint("https", domain)
    port = _split_port(domain)[1]
    if port == "80":
        return Endpoint("http", domain)
    return Endpoint("https", domain, skip_verify=True, http_fallback=port not in ("", "443"))


def parse_url(text: str, source: str) -> tuple[str, str, str]:
    """Scheme, host and path ("" or "/...") of a configured URL; `source` says where it stands.

    A host without a scheme means HTTPS, or plain HTTP on loopback. Raises InvalidArgument.
    """
    if "@" in text:
        raise InvalidArgument(f"{source}: credentials do not belong into a URL, use [registry.configs]")
    host_only = text.partition("/")[0]
    url = text if "://" in text else f"{'http' if is_loopback(host_only) else 'https'}://{text}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidArgument(f"{source}: {text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidArgument(f"{source}: {text!r} is not an http or https URL with a host")
    if parts.query or parts.fragment:
        raise InvalidArgument(f"{source}: {text!r} has a query or fragment, only host and path are used")
    return parts.scheme, parts.netloc, parts.path.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host (with or without port) is this machine: localhost, 127.0.0.0/8, ::1."""
    name = _split_port(host)[0].strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def same_host(one: str, other: str) -> bool:
    """Whether credentials for `one` are meant for `other`; Docker Hub goes by three names, ports by default."""
    return _canonical(one) == _canonical(other)


def _canonical(host: str) -> str:
    name, port = _split_port(host.lower())
    if name in _DOCKER_HUB_NAMES:
        name = DEFAULT_DOMAIN
    return name if port in ("", "443") else f"{name}:{port}"


def _split_port(host: str) -> tuple[str, str]:
    end = host.rfind("]") + 1
    name, _, port = host[end:].partition(":")
    return host[:end] + name, port
