"""Image references: what users write, what containerd's records are called, and how one becomes the other. Pure.

    [domain[:port]/]path[:tag][@digest]

The grammar and the normalisation are Docker's, because kubelet, containerd and every user assume them: a first
component is a domain only if it has a dot, a colon or an upper-case letter, or is `localhost`; otherwise the
domain is docker.io, where a one-part path gets `library/` in front. No tag and no digest means `:latest`. A
reference with both is pulled by its digest and the tag is only for humans, so the normalised name drops it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cri.errors import InvalidArgument

DEFAULT_DOMAIN: Final = "docker.io"
LONGEST_NAME: Final = 255
SHORTEST_ID: Final = 4
"""Hex digits below which a prefix of an image id is not looked up."""

_LONGEST_REFERENCE = LONGEST_NAME + len(":") + 128 + len("@sha512:") + 128
_LEGACY_DOMAIN = "index.docker.io"
_DIGEST_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX = re.compile(r"[0-9a-f]+")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference: it has a tag or a digest, never both, and always a domain."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Domain and path: `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def selector(self) -> str:
        """The tag or digest, which is what a registry is asked for."""
        return self.digest or self.tag

    @property
    def tagged_name(self) -> str:
        """The repo tag as containerd records it, or "" for a reference by digest."""
        return f"{self.repository}:{self.tag}" if self.tag else ""

    def digested_name(self, digest: str) -> str:
        """The repo digest as containerd records it: this repository at `digest` (of manifest or index)."""
        return f"{self.repository}@{digest}"

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def parse(text: str) -> Reference:
    """Normalise what a user wrote. Raises InvalidArgument that says which part is wrong and why."""
    if not text:
        raise InvalidArgument("image reference is empty")
    if len(text) > _LONGEST_REFERENCE:
        raise _wrong(text, "length", f"{len(text)} characters are more than any reference can have")
    if _IMAGE_ID.fullmatch(text):
        raise _wrong(text, "name", "64 hex digits are an image id, which cannot be pulled")
    named, at, digest = text.partition("@")
    if at:
        check_digest(digest, text)
    domain, rest = _split_domain(named)
    path, colon, tag = rest.partition(":")
    if not _DOMAIN.fullmatch(domain):
        raise _wrong(text, "registry", f"{domain!r} is not a host name or address with an optional port")
    port = domain[domain.rfind("]") + 1 :].partition(":")[2]
    if port and int(port[:6]) > 65535:
        raise _wrong(text, "registry", f"port {port} is above 65535")
    _check_path(path, text)
    if len(domain) + 1 + len(path) > LONGEST_NAME:
        raise _wrong(
            text, "name", f"registry and repository are longer than {LONGEST_NAME} characters together"
        )
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(
            text, "tag", f"{tag!r} is not 1 to 128 letters, digits, '_', '.', '-' (not first '.' or '-')"
        )
    if at:
        return Reference(domain, path, digest=digest)
    return Reference(domain, path, tag=tag or "latest")


def check_digest(digest: str, within: str = "") -> str:
    """Return `digest` if it is `algorithm:lower-case hex` of the right length, else raise InvalidArgument."""
    algorithm, _, encoded = digest.partition(":")
    expected = _DIGEST_HEX.get(algorithm)
    if expected is None:
        known = ", ".join(_DIGEST_HEX)
        raise _wrong(within or digest, "digest", f"algorithm {algorithm!r} is not one of {known}")
    if len(encoded) != expected or not _HEX.fullmatch(encoded):
        raise _wrong(within or digest, "digest", f"{algorithm} takes {expected} lower-case hex digits")
    return digest


def is_digest(text: str) -> bool:
    """Whether `text` is a whole digest."""
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == _DIGEST_HEX.get(algorithm) and _HEX.fullmatch(encoded) is not None


def id_prefix(text: str) -> str:
    """`sha256:<hex>` if `text` can be the beginning of an image id (with or without `sha256:`), else ""."""
    encoded = text.removeprefix("sha256:")
    if SHORTEST_ID <= len(encoded) <= 64 and _HEX.fullmatch(encoded):
        return f"sha256:{encoded}"
    return ""


def is_repo_digest(name: str) -> bool:
    """Whether a containerd image name is `repository@digest`."""
    repository, at, digest = name.partition("@")
    return bool(at) and bool(repository) and is_digest(digest)


def is_repo_tag(name: str) -> bool:
    """Whether a containerd image name is a normalised `domain/path:tag`."""
    if "@" in name or is_digest(name):
        return False
    try:
        return str(parse(name)) == name
    except InvalidArgument:
        return False


def _split_domain(named: str) -> tuple[str, str]:
    first, slash, rest = named.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, f"library/{named}"
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    elif not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = DEFAULT_DOMAIN, named
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _check_path(path: str, text: str) -> None:
    for component in path.split("/"):
        if _COMPONENT.fullmatch(component):
            continue
        if not component:
            reason = "a part of it is empty"
        elif component != component.lower():
            reason = f"{component!r} has upper-case letters"
        else:
            reason = f"{component!r} is not lower-case letters and digits joined by '.', '_', '__' or '-'"
        raise _wrong(text, "repository", reason)


def _wrong(text: str, part: str, reason: str) -> InvalidArgument:
    shown = text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."
    return InvalidArgument(f"invalid image reference {shown!r}: {part}: {reason}")
