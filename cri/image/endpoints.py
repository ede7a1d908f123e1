"""The servers to ask for one registry's images, from all the places where an operator can say so. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.image.hosts import read_hosts
from cri.image.mirrors import mirrored_endpoints, with_configured_headers, with_configured_tls

if TYPE_CHECKING:
    from cri.image.endpoint import Endpoint
    from cri.image.settings import RegistrySettings


def endpoints_for(domain: str, settings: RegistrySettings) -> tuple[Endpoint, ...]:
    """The endpoints in order: hosts.toml, else the old-style mirrors, else the registry itself.

    Reads files: call it in a thread, at each pull, so that changes count at once. Raises FailedPrecondition
    naming the file that is wrong, InvalidArgument naming the key.
    """
    endpoints = read_hosts(settings.config_path, domain)
    if endpoints is None:
        endpoints = mirrored_endpoints(domain, settings)
    return tuple(
        with_configured_headers(with_configured_tls(endpoint, settings), settings) for endpoint in endpoints
    )
