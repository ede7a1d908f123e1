"""The CNI result inside a sandbox record, in the JSON form of containerd's CRI plugin. Pure.

containerd keeps only part of a result: addresses without prefix length, by interface name, written by Go's
encoding/json from go-cni's `Result` (hence the capitals, and null for what is empty). What DEL needs beyond
that stands under a key of our own, which its decoder passes over. So either server can stop the other's pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.network.attachment import Attachment, AttachmentError, from_document, to_document
from cri.network.configuration import OLDEST_VERSION
from cri.network.result import PRIMARY_INTERFACE, AssignedAddress, AttachmentResult, Interface, combine
from cri.network.result_document import (
    ResultError,
    canonical_address,
    parse_dns,
    parse_result,
    parse_routes,
    render_dns,
    render_route,
)

if TYPE_CHECKING:
    from cri.network.documents import Json, JsonObject

ATTACHMENTS_KEY = "cri-shim.attachments"


def to_record(result: AttachmentResult) -> JsonObject:
    """The value of `CNIResult` in the sandbox record."""
    links = {PRIMARY_INTERFACE: Interface(PRIMARY_INTERFACE)} | {
        item.name: item for item in result.interfaces
    }
    addresses: dict[str, list[Json]] = {}
    for item in result.ips:
        links.setdefault(item.interface, Interface(item.interface))
        addresses.setdefault(item.interface, []).append({"IP": item.address, "Gateway": item.gateway})
    record: JsonObject = {
        "Interfaces": {
            name: {
                "IPConfigs": addresses.get(name),
                "Mac": link.mac,
                "Sandbox": link.sandbox,
                "PciID": link.pci_id,
                "SocketPath": link.socket_path,
            }
            for name, link in sorted(links.items())
        },
        "DNS": [render_dns(item) for item in result.dns],
        "Routes": [render_route(item) for item in result.routes] or None,
    }
    if result.attachments:
        record[ATTACHMENTS_KEY] = [to_document(item) for item in result.attachments]
    return record


def from_record(record: JsonObject) -> AttachmentResult:
    """Read `CNIResult` as this server or containerd wrote it. Raises ValueError if it is neither's."""
    attachments = _attachments(record.get(ATTACHMENTS_KEY))
    if attachments and all(item.result is not None for item in attachments):
        networks = [
            (item.interface, parse_result(item.result, OLDEST_VERSION))
            for item in attachments
            if item.result is not None
        ]
        return combine(networks, attachments)
    interfaces: list[Interface] = []
    ips: list[AssignedAddress] = []
    for name, value in _object(record.get("Interfaces"), "Interfaces").items():
        link = _object(value, f"Interfaces.{name}")
        interfaces.append(_interface(name, link))
        ips.extend(_address(name, item) for item in _array(link, "IPConfigs"))
    return AttachmentResult(
        interfaces=tuple(interfaces),
        ips=tuple(ips),
        routes=parse_routes(_array(record, "Routes")),
        dns=tuple(parse_dns(item) for item in _array(record, "DNS")),
        attachments=attachments,
    )


def _attachments(value: Json) -> tuple[Attachment, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise AttachmentError(f"{ATTACHMENTS_KEY} is not an array")
    return tuple(from_document(_object(item, ATTACHMENTS_KEY)) for item in value)


def _interface(name: str, link: JsonObject) -> Interface:
    return Interface(
        name=name,
        mac=_text(link, "Mac"),
        sandbox=_text(link, "Sandbox"),
        pci_id=_text(link, "PciID"),
        socket_path=_text(link, "SocketPath"),
    )


def _address(name: str, value: Json) -> AssignedAddress:
    item = _object(value, "IPConfigs[]")
    gateway = _text(item, "Gateway")
    return AssignedAddress(
        address=canonical_address(item.get("IP"), "IPConfigs[].IP"),
        interface=name,
        gateway=canonical_address(gateway, "IPConfigs[].Gateway") if gateway else "",
    )


def _object(value: Json, place: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ResultError(f"CNIResult: {place} is not an object")
    return value


def _array(document: JsonObject, key: str) -> list[Json]:
    value = document.get(key)
    if value is not None and not isinstance(value, list):
        raise ResultError(f"CNIResult: {key} is not an array")
    return value or []


def _text(document: JsonObject, key: str) -> str:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise ResultError(f"CNIResult: {key} is not a string")
    return value or ""
