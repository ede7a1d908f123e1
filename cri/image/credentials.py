"""Who a pull is made as: credentials from the request, else from the configuration. In memory for one pull only.

No secret is in any `repr`, and nothing in this module logs. Pure.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.image.endpoint import same_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.wire.criv1.image_pb2 import AuthConfig
    from cri.image.settings import RegistryAuth, RegistryConfig


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one host is told: username and password, or an identity token (to be changed for an access token),
    or a registry token (an access token already). All empty is anonymous."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def anonymous(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.username or self.password or self.identity_token or self.registry_token)


ANONYMOUS = Credentials()


@dataclass(frozen=True, slots=True)
class Keyring:
    """Finds the credentials for a host in one pull."""

    requested: Credentials = ANONYMOUS
    requested_for: str = ""
    """The only host that the request's credentials are for; "" is any endpoint of the image."""
    configured: Mapping[str, Credentials] = field(default_factory=dict)

    def credentials(self, host: str) -> Credentials:
        """Those of the request if they are for `host`, else the configured ones, else ANONYMOUS."""
        if not self.requested.anonymous and (not self.requested_for or same_host(self.requested_for, host)):
            return self.requested
        for name, credentials in self.configured.items():
            if same_host(name, host):
                return credentials
        return ANONYMOUS


def keyring(auth: AuthConfig | None, configs: Mapping[str, RegistryConfig]) -> Keyring:
    """The credentials of one PullImage. Raises InvalidArgument if the request's cannot be decoded."""
    configured = {host: _of_settings(host, config.auth) for host, config in configs.items() if config.auth}
    if auth is None:
        return Keyring(configured=configured)
    return Keyring(
        requested=_credentials(
            auth.username,
            auth.password,
            auth.auth,
            auth.identity_token,
            auth.registry_token,
            "AuthConfig.auth",
        ),
        requested_for=_host(auth.server_address),
        configured=configured,
    )


def _of_settings(host: str, auth: RegistryAuth) -> Credentials:
    source = f'[registry.configs."{host}".auth] auth'
    return _credentials(auth.username, auth.password, auth.auth, auth.identitytoken, "", source)


def _credentials(
    username: str, password: str, auth: str, identity_token: str, registry_token: str, source: str
) -> Credentials:
    """The strongest of what was given: name and password, else a token, else the encoded pair.

    A name without a password beside an identity token is a placeholder ("<token>" and the like).
    """
    if username and (password or not identity_token):
        return Credentials(username=username, password=password)
    if identity_token:
        return Credentials(identity_token=identity_token)
    if auth:
        return _decoded(auth, source)
    return Credentials(registry_token=registry_token)


def _decoded(auth: str, source: str) -> Credentials:
    try:
        pair = base64.b64decode(auth.strip() + "=" * (-len(auth.strip()) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidArgument(f"{source} is not base64 of username:password") from None
    username, colon, password = pair.partition(":")
    if not colon:
        raise InvalidArgument(f"{source} is not base64 of username:password")
    return Credentials(username=username, password=password.strip("\x00"))


def _host(server_address: str) -> str:
    """The host of `https://index.docker.io/v1/`, `registry.example:5000` and the like."""
    return server_address.rpartition("://")[2].partition("/")[0]
