"""CNI results as documents: every version is read into, and written from, one shape. Pure.

Three forms are on the wire. Up to 0.2.0: at most one address a family (`ip4`, `ip6`) with its routes inside.
From 0.3.0: `interfaces`, `ips` (each with a `version`, and the index of its interface) and `routes`. From
1.0.0 the same without `version`; 1.1.0 adds an interface's `mtu`, `socketPath`, `pciID` and a route's
attributes.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cri.network.configuration import OLDEST_VERSION, VERSIONS
from cri.network.result import Dns, Interface, ListedAddress, NetworkResult, Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cri.network.documents import Json, JsonObject

_FLAT_VERSIONS = ("0.1.0", "0.2.0")
_FAMILY_VERSIONS = ("0.3.0", "0.3.1", "0.4.0")


class ResultError(ValueError):
    """A plugin's result is not one; the message names the key and its mistake."""


def parse_result(document: JsonObject, expected_version: str) -> NetworkResult:
    """Take a result apart. Without `cniVersion` it is of the version asked for. Raises ResultError."""
    version = result_version(document, expected_version)
    dns = _dns(document.get("dns"))
    if version in _FLAT_VERSIONS:
        families = [item for key in ("ip4", "ip6") if (item := _optional_object(document, key)) is not None]
        return NetworkResult(
            ips=tuple(_address(item, "ip", "ip4/ip6") for item in families),
            routes=tuple(route for item in families for route in _routes(item)),
            dns=dns,
        )
    interfaces = tuple(
        _interface(_object(item, f"interfaces[{index}]"))
        for index, item in enumerate(_array(document, "interfaces"))
    )
    ips = tuple(
        _listed_address(_object(item, f"ips[{index}]"), f"ips[{index}]", len(interfaces))
        for index, item in enumerate(_array(document, "ips"))
    )
    return NetworkResult(interfaces=interfaces, ips=ips, routes=tuple(_routes(document)), dns=dns)


def result_version(document: JsonObject, expected_version: str) -> str:
    """The version that a result says it has. Raises ResultError for one that does not exist."""
    version = document.get("cniVersion")
    if version is None or version == "":
        return expected_version or OLDEST_VERSION
    if not isinstance(version, str) or version not in VERSIONS:
        raise ResultError(f"cniVersion {str(version)[:40]!r} is not known here")
    return version


def render_result(result: NetworkResult, version: str) -> JsonObject:
    """Write a result in the given version, for `prevResult`. Older versions cannot carry everything."""
    document: JsonObject = {"cniVersion": version}
    if version in _FLAT_VERSIONS:
        document.update(_render_flat(result))
    else:
        document["interfaces"] = [_render_interface(item, version) for item in result.interfaces]
        document["ips"] = [_render_address(item, version) for item in result.ips]
        document["routes"] = [render_route(item) for item in result.routes]
    if result.dns != Dns():
        document["dns"] = render_dns(result.dns)
    return document


def render_route(route: Route) -> JsonObject:
    """A route as it stands in results and in containerd's records."""
    document: JsonObject = {"dst": route.destination}
    if route.gateway:
        document["gw"] = route.gateway
    for key, number in (
        ("mtu", route.mtu),
        ("advmss", route.advertised_mss),
        ("priority", route.priority),
        ("table", route.table),
        ("scope", route.scope),
    ):
        if number is not None:
            document[key] = number
    return document


def render_dns(dns: Dns) -> JsonObject:
    """Resolver settings as they stand in results and in containerd's records; empty ones are left out."""
    document: JsonObject = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return {key: value for key, value in document.items() if value}


def parse_routes(items: Sequence[Json]) -> tuple[Route, ...]:
    """Read routes as `render_route` writes them. Raises ResultError."""
    return tuple(_routes({"routes": list(items)}))


def parse_dns(value: Json) -> Dns:
    """Read resolver settings as `render_dns` writes them. Raises ResultError."""
    return _dns(value)


def canonical_address(text: Json, place: str) -> str:
    """An IP address in canonical form; an IPv4-mapped one becomes IPv4, as in Go. Raises ResultError."""
    try:
        address = ipaddress.ip_address(_string(text, place))
    except ValueError as error:
        raise ResultError(f"{place}: {error}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ResultError(f"{place}: an address with a zone is not possible here")
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)


def _render_flat(result: NetworkResult) -> JsonObject:
    document: JsonObject = {}
    for key, version in (("ip4", 4), ("ip6", 6)):
        first = next((item for item in result.ips if _family(item.address) == version), None)
        if first is None:
            continue
        routes = [item for item in result.routes if _family(item.destination.partition("/")[0]) == version]
        entry: JsonObject = {
            "ip": f"{first.address}/{first.prefix_length}",
            "routes": [render_route(Route(item.destination, item.gateway)) for item in routes],
        }
        if first.gateway:
            entry["gateway"] = first.gateway
        document[key] = entry
    return document


def _render_interface(interface: Interface, version: str) -> JsonObject:
    document: JsonObject = {"name": interface.name}
    optional: JsonObject = {"mac": interface.mac, "sandbox": interface.sandbox}
    if version not in _FAMILY_VERSIONS:
        optional |= {"mtu": interface.mtu, "pciID": interface.pci_id, "socketPath": interface.socket_path}
    return document | {key: value for key, value in optional.items() if value}


def _render_address(item: ListedAddress, version: str) -> JsonObject:
    document: JsonObject = {"address": f"{item.address}/{item.prefix_length}"}
    if version in _FAMILY_VERSIONS:
        document["version"] = str(_family(item.address))
    if item.gateway:
        document["gateway"] = item.gateway
    if item.interface is not None:
        document["interface"] = item.interface
    return document


def _family(address: str) -> int:
    return ipaddress.ip_address(address).version


def _listed_address(item: JsonObject, place: str, interfaces: int) -> ListedAddress:
    address = _address(item, "address", place)
    index = item.get("interface")
    if index is None:
        return address
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < interfaces:
        raise ResultError(f"{place}.interface is {index!r}, but there are {interfaces} interfaces")
    return ListedAddress(address.address, address.prefix_length, address.gateway, index)


def _address(item: JsonObject, key: str, place: str) -> ListedAddress:
    address, prefix_length = _split_prefix(item.get(key), f"{place}.{key}")
    gateway = item.get("gateway")
    return ListedAddress(
        address=address,
        prefix_length=prefix_length,
        gateway="" if gateway is None or gateway == "" else canonical_address(gateway, f"{place}.gateway"),
    )


def _split_prefix(value: Json, place: str) -> tuple[str, int]:
    """Go reads these with ParseCIDR: the prefix length must be there and must be a number."""
    text = _string(value, place)
    address, slash, length = text.partition("/")
    canonical = canonical_address(address, place)
    bits = 128 if ":" in address else 32
    if not slash or not (length.isascii() and length.isdigit()) or len(length) > 3 or int(length) > bits:
        raise ResultError(f"{place}: {text[:80]!r} is not an address with a prefix length")
    if bits == 128 and ":" not in canonical:
        return canonical, max(0, int(length) - 96)
    return canonical, int(length)


def _interface(item: JsonObject) -> Interface:
    name = _string(item.get("name"), "interfaces[].name")
    if not name:
        raise ResultError("interfaces[].name is empty")
    return Interface(
        name=name,
        mac=_text(item, "mac"),
        sandbox=_text(item, "sandbox"),
        mtu=_number(item, "mtu") or 0,
        pci_id=_text(item, "pciID"),
        socket_path=_text(item, "socketPath"),
    )


def _routes(document: JsonObject) -> Iterator[Route]:
    for index, value in enumerate(_array(document, "routes")):
        place = f"routes[{index}]"
        item = _object(value, place)
        address, length = _split_prefix(item.get("dst"), f"{place}.dst")
        gateway = item.get("gw")
        yield Route(
            destination=f"{address}/{length}",
            gateway="" if gateway is None or gateway == "" else canonical_address(gateway, f"{place}.gw"),
            mtu=_number(item, "mtu"),
            advertised_mss=_number(item, "advmss"),
            priority=_number(item, "priority"),
            table=_number(item, "table"),
            scope=_number(item, "scope"),
        )


def _dns(value: Json) -> Dns:
    if value is None:
        return Dns()
    document = _object(value, "dns")
    return Dns(
        nameservers=_strings(document, "nameservers"),
        domain=_text(document, "domain"),
        search=_strings(document, "search"),
        options=_strings(document, "options"),
    )


def _array(document: JsonObject, key: str) -> list[Json]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ResultError(f"{key} is not an array")
    return value


def _strings(document: JsonObject, key: str) -> tuple[str, ...]:
    return tuple(_string(item, f"{key}[]") for item in _array(document, key))


def _object(value: Json, place: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ResultError(f"{place} is not an object")
    return value


def _optional_object(document: JsonObject, key: str) -> JsonObject | None:
    value = document.get(key)
    return None if value is None else _object(value, key)


def _string(value: Json, place: str) -> str:
    if not isinstance(value, str):
        raise ResultError(f"{place} is missing or not a string")
    return value


def _text(document: JsonObject, key: str) -> str:
    value = document.get(key)
    return "" if value is None else _string(value, key)


def _number(document: JsonObject, key: str) -> int | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ResultError(f"{key} is not a whole number")
    return value
