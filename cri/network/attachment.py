"""One attachment: a sandbox on one network, with everything that DEL will need. Pure.

The document form is that of libcni's cache files, so `cnitool`, containerd and this server can each undo what
another did. It is stored twice: as a cache file, before the first plugin runs (without a result), and in the
sandbox record afterwards.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from cri.network.documents import Json, JsonObject

CACHE_KIND = "cniCacheV1"
LONGEST_INTERFACE_NAME = 15

_CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class AttachmentError(ValueError):
    """A stored attachment cannot be read; the message names the key."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The arguments of one ADD through a network list and, once it succeeded, its final result."""

    network: str
    """The network's name."""
    container_id: str
    """The sandbox ID, which is CNI's container ID."""
    interface: str
    """Name inside the pod: eth0, eth1, …"""
    config: bytes
    """The network list as ADD used it (the file may have changed since)."""
    network_namespace: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    """CNI_ARGS pairs in order."""
    capabilities: JsonObject = field(default_factory=dict)
    """Capability arguments of this sandbox, before filtering by what each plugin declares."""
    result: JsonObject | None = None
    """The last plugin's result as it printed it; None until ADD went through the whole list."""

    @property
    def key(self) -> tuple[str, str]:
        """What tells a sandbox's attachments apart."""
        return self.network, self.interface


def checked_container_id(container_id: str) -> str:
    """The ID if CNI can take it (it also becomes part of file names). Raises InvalidArgument."""
    if not _CONTAINER_ID.fullmatch(container_id):
        raise InvalidArgument(
            f"{container_id[:80]!r} cannot be a CNI container ID: it may hold letters, digits, '_', '.', '-'"
        )
    return container_id


def to_document(attachment: Attachment) -> JsonObject:
    """libcni's cache document."""
    document: JsonObject = {
        "kind": CACHE_KIND,
        "containerId": attachment.container_id,
        "config": base64.b64encode(attachment.config).decode("ascii"),
        "ifName": attachment.interface,
        "networkName": attachment.network,
    }
    if attachment.network_namespace:
        document["netns"] = attachment.network_namespace
    if attachment.arguments:
        document["cniArgs"] = [list(pair) for pair in attachment.arguments]
    if attachment.capabilities:
        document["capabilityArgs"] = attachment.capabilities
    if attachment.result is not None:
        document["result"] = attachment.result
    return document


def from_document(document: JsonObject) -> Attachment:
    """Read a cache document of this server or of libcni. Raises AttachmentError."""
    if document.get("kind") != CACHE_KIND:
        raise AttachmentError(f"kind is not {CACHE_KIND!r}")
    try:
        config = base64.b64decode(_string(document, "config"), validate=True)
    except binascii.Error as error:
        raise AttachmentError(f"config: {error}") from None
    return Attachment(
        network=_string(document, "networkName"),
        container_id=_string(document, "containerId"),
        interface=_string(document, "ifName"),
        config=config,
        network_namespace=_string(document, "netns") if document.get("netns") else "",
        arguments=_arguments(document.get("cniArgs")),
        capabilities=_object(document, "capabilityArgs") or {},
        result=_object(document, "result"),
    )


def _string(document: JsonObject, key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise AttachmentError(f"{key} is missing or not a string")
    return value


def _object(document: JsonObject, key: str) -> JsonObject | None:
    value = document.get(key)
    if value is not None and not isinstance(value, dict):
        raise AttachmentError(f"{key} is not an object")
    return value


def _arguments(value: Json) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for item in value if isinstance(value, list) else []:
        match item:
            case [str(name), str(text)]:
                pairs.append((name, text))
            case _:
                raise AttachmentError("cniArgs is not an array of pairs of strings")
    return tuple(pairs)
