"""TLS contexts for endpoints. Making one reads certificate files and takes tens of milliseconds: use a thread."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from cri.errors import FailedPrecondition

if TYPE_CHECKING:
    from cri.image.endpoint import Endpoint

_contexts: dict[object, ssl.SSLContext] = {}


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """The context for `endpoint`: system authorities and its own, its client certificates, or no verification.

    Kept until one of the files changes. Blocking. Raises FailedPrecondition naming the file that is wrong.
    """
    files = (*endpoint.ca, *(name for pair in endpoint.client for name in pair))
    key = (endpoint.ca, endpoint.client, endpoint.skip_verify, tuple(_version(name) for name in files))
    context = _contexts.get(key)
    if context is None:
        context = _made(endpoint)
        if len(_contexts) > 64:
            _contexts.clear()
        _contexts[key] = context
    return context


def _made(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if endpoint.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for name in endpoint.ca:
        try:
            context.load_verify_locations(cafile=name)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(f"CA file {name} for registry host {endpoint.host}: {error}") from error
    for certificate, key in endpoint.client:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(
                f"client certificate {certificate} with key {key} for registry host {endpoint.host}: {error}"
            ) from error
    return context


def _version(name: str) -> tuple[int, int, int]:
    try:
        status = os.stat(name)
    except OSError as error:
        raise FailedPrecondition(f"TLS file {name}: {error.strerror}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns
