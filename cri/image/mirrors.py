"""The registry configuration of containerd 1.x, which many tutorials still show. Pure; hosts.toml comes first.

`[registry.mirrors."HOST"] endpoint = [...]` lists servers for a host (`*` for any), and
`[registry.configs."HOST".tls]` says how to talk to an endpoint's host, whichever way the endpoint was found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cri.image.endpoint import Endpoint, default_endpoint, parse_url, same_host

if TYPE_CHECKING:
    from cri.image.settings import RegistrySettings


def mirrored_endpoints(domain: str, settings: RegistrySettings) -> tuple[Endpoint, ...]:
    """The configured endpoints for `domain`, then the registry itself unless it is among them."""
    mirror = settings.mirrors.get(domain) or settings.mirrors.get("*")
    endpoints = []
    for text in mirror.endpoint if mirror else ():
        scheme, host, path = parse_url(text, f'[registry.mirrors."{domain}"]')
        endpoints.append(Endpoint(scheme, host, path or "/v2"))
    if not any(endpoint.serves(domain) for endpoint in endpoints):
        endpoints.append(default_endpoint(domain))
    return tuple(endpoints)


def with_configured_tls(endpoint: Endpoint, settings: RegistrySettings) -> Endpoint:
    """The endpoint with `[registry.configs."HOST".tls]` of its host, where hosts.toml says nothing of TLS."""
    if endpoint.ca or endpoint.client or (endpoint.skip_verify and not endpoint.http_fallback):
        return endpoint
    for host, config in settings.configs.items():
        if config.tls is not None and same_host(host, endpoint.host):
            tls = config.tls
            return replace(
                endpoint,
                ca=(tls.ca_file,) if tls.ca_file else (),
                client=((tls.cert_file, tls.key_file or tls.cert_file),) if tls.cert_file else (),
                skip_verify=tls.insecure_skip_verify,
            )
    return endpoint


def with_configured_headers(endpoint: Endpoint, settings: RegistrySettings) -> Endpoint:
    """The endpoint with the headers of `[registry.headers]`, which go to every registry."""
    common = tuple((name, value) for name, values in settings.headers.items() for value in values)
    return replace(endpoint, headers=(*common, *endpoint.headers)) if common else endpoint


def deprecations(settings: RegistrySettings) -> list[str]:
    """One line per old-style table in use, saying what to write instead."""
    lines = [
        f'[registry.mirrors."{host}"] is deprecated: write certs.d/{host}/hosts.toml and set config_path'
        for host in settings.mirrors
    ]
    lines.extend(
        f'[registry.configs."{host}".tls] is deprecated: write ca, client or skip_verify to certs.d/{host}/hosts.toml'
        for host, config in settings.configs.items()
        if config.tls is not None
    )
    return lines
