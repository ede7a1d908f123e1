"""Which servers to ask for a registry's content: `certs.d/HOST/hosts.toml`, read anew at each pull.

    certs.d/docker.io/hosts.toml          the host itself; a port is written `host_5000_` or `host:5000`
    certs.d/_default/hosts.toml           for every host without a directory of its own

`[host."URL"]` tables are mirrors, tried in the order in which they stand; `server` (or else the registry itself)
comes last, with the keys at the top of the file. A directory without hosts.toml may hold Docker's layout of
`*.crt`, `*.cert` and `*.key` files. A file that cannot be understood fails the pull: skipping it could send a
request, and credentials with it, to a place that the operator wanted to avoid.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Final

import msgspec

from cri.errors import FailedPrecondition, InvalidArgument
from cri.image.endpoint import (
    DIAL_SECONDS,
    PULL_AND_RESOLVE,
    Capability,
    Endpoint,
    default_endpoint,
    parse_url,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_KNOWN_CAPABILITIES: Final = ("pull", "resolve", "push", "referrers")


class _HostTable(msgspec.Struct):
    """The keys of one server in hosts.toml. Unknown keys are left to other clients of the file."""

    capabilities: list[str] = msgspec.field(default_factory=list)
    ca: str | list[str] | None = None
    client: str | list[str | list[str]] | None = None
    skip_verify: bool = False
    header: dict[str, str | list[str]] = msgspec.field(default_factory=dict)
    override_path: bool = False
    dial_timeout: str = ""


class _HostsFile(_HostTable):
    server: str = ""
    host: dict[str, _HostTable] = msgspec.field(default_factory=dict)


def read_hosts(config_path: str, domain: str) -> tuple[Endpoint, ...] | None:
    """The servers for `domain` by the first matching directory of the colon-separated trees, None without one.

    Blocking: call it in a thread. Raises FailedPrecondition naming the file that is wrong.
    """
    for directory in _directories(config_path, domain):
        if not os.path.isdir(directory):
            continue
        path = os.path.join(directory, "hosts.toml")
        try:
            with open(path, "rb") as file:
                text = file.read().decode()
        except FileNotFoundError:
            return (_from_certificate_files(directory, domain),)
        except (OSError, UnicodeDecodeError) as error:
            raise FailedPrecondition(f"registry configuration {path} cannot be read: {error}") from error
        if not text.strip():
            return (_from_certificate_files(directory, domain),)
        return parse_hosts(text, path, domain)
    return None


def tree_for(config_path: str, domain: str) -> str:
    """The tree among the colon-separated ones that says something about `domain`, or "". Blocking."""
    for tree in filter(None, config_path.split(":")):
        if any(os.path.isdir(directory) for directory in _directories(tree, domain)):
            return tree
    return ""


def parse_hosts(text: str, path: str, domain: str) -> tuple[Endpoint, ...]:
    """The servers that the file at `path` names for `domain`, in order. Raises FailedPrecondition."""
    try:
        file = msgspec.convert(tomllib.loads(text), _HostsFile)
        mirrors = [_endpoint(url, table, path) for url, table in file.host.items()]
        return (*mirrors, _endpoint(file.server, file, path, domain))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, InvalidArgument) as error:
        raise FailedPrecondition(f"registry configuration {path} is wrong: {error}") from error


def parse_duration(text: str) -> float:
    """Seconds of a duration as Go writes them ("1m30s", "250ms"). Raises InvalidArgument."""
    rest, seconds = text, 0.0
    while match := _DURATION.match(rest):
        seconds += float(match[1]) * _SECONDS[match[2]]
        rest = rest[match.end() :]
    if rest or not text:
        raise InvalidArgument(f"{text!r} is not a duration such as 30s or 1m30s")
    return seconds


def _directories(config_path: str, domain: str) -> Iterator[str]:
    name, colon, port = domain.rpartition(":")
    names = [f"{name}_{port}_"] if colon and port.isdigit() else []
    for tree in filter(None, config_path.split(":")):
        for directory in (*names, domain, "_default"):
            yield os.path.join(tree, directory)


def _endpoint(url: str, table: _HostTable, path: str, domain: str = "") -> Endpoint:
    base = os.path.dirname(path)
    if url:
        scheme, host, root = parse_url(url, "server")
        if not table.override_path and not root.endswith("/v2"):
            root += "/v2"
        fallback = False
        skip_verify = table.skip_verify
    else:
        itself = default_endpoint(domain)
        scheme, host, root, fallback = itself.scheme, itself.host, itself.path, itself.http_fallback
        skip_verify = table.skip_verify or (itself.skip_verify and table.ca is None)
    return Endpoint(
        scheme=scheme,
        host=host,
        path=root,
        capabilities=_capabilities(table.capabilities),
        ca=_paths(table.ca, base),
        client=_pairs(table.client, base),
        skip_verify=skip_verify,
        headers=_headers(table.header),
        dial_seconds=parse_duration(table.dial_timeout) if table.dial_timeout else DIAL_SECONDS,
        http_fallback=fallback,
    )


def _capabilities(names: list[str]) -> frozenset[Capability]:
    if not names:
        return PULL_AND_RESOLVE
    lowered = {name.lower() for name in names}
    unknown = sorted(lowered.difference(_KNOWN_CAPABILITIES))
    if unknown:
        raise InvalidArgument(f"unknown capability {unknown[0]!r}, known are pull, resolve and push")
    known: tuple[Capability, ...] = ("pull", "resolve")
    return frozenset(name for name in known if name in lowered)


def _paths(value: str | list[str] | None, base: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    return tuple(os.path.join(base, name) for name in names)


def _pairs(value: str | list[str | list[str]] | None, base: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for entry in [value] if isinstance(value, str) else value or []:
        names = [entry, entry] if isinstance(entry, str) else entry
        if len(names) != 2:
            raise InvalidArgument("client: each entry is one file or a pair of certificate and key file")
        pairs.append((os.path.join(base, names[0]), os.path.join(base, names[1] or names[0])))
    return tuple(pairs)


def _headers(table: Mapping[str, str | list[str]]) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    for name, values in table.items():
        headers.extend((name, value) for value in ([values] if isinstance(values, str) else values))
    for name, value in headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\r\n\0]", value):
            raise InvalidArgument(f"header {name!r} is not valid in HTTP")
    return tuple(headers)


def _from_certificate_files(directory: str, domain: str) -> Endpoint:
    """Docker's layout: `*.crt` are authorities, `*.cert` with `*.key` client certificates."""
    names = sorted(os.listdir(directory))
    ca = tuple(os.path.join(directory, name) for name in names if name.endswith(".crt"))
    client = []
    for name in names:
        if name.endswith(".cert"):
            key = f"{name.removesuffix('.cert')}.key"
            certificate = os.path.join(directory, name)
            client.append((certificate, os.path.join(directory, key) if key in names else certificate))
    itself = default_endpoint(domain)
    return Endpoint(
        scheme=itself.scheme,
        host=itself.host,
        ca=ca,
        client=tuple(client),
        skip_verify=itself.skip_verify and not ca,
        http_fallback=itself.http_fallback,
    )
