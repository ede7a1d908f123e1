"""CNI network configuration: from the bytes of a file to a checked `NetworkList`. Pure.

Three file forms exist: `.conflist` (a named list of plugins), and `.conf` and `.json` (a single plugin, which
becomes a list of one). Rules are those of the CNI specification, section 1, as libcni applies them, but every
mistake is found here, when the file is read, instead of when the first pod needs it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cri.network.documents import Json, JsonError, JsonObject, decode_object, encode
from cri.network.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Versions of the CNI specification that this server speaks, oldest first."""
OLDEST_VERSION = VERSIONS[0]
"""What a configuration without `cniVersion` means."""
SUFFIXES = (".conf", ".conflist", ".json")
"""Names of configuration files end so."""
LARGEST_FILE_BYTES = 1 << 20
LONGEST_NAME = 160
"""The name becomes part of the cache file's name, beside a 64-character ID and an interface name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NOT_IN_TYPE = re.compile(r"[/\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin of a list: a program and what it is to be told."""

    type: str
    """File name of the program, looked for in the plugin directories."""
    document: JsonObject
    """Its configuration as written, unknown keys included."""
    capabilities: frozenset[str]
    """Which capability arguments it wants as `runtimeConfig`."""


@dataclass(frozen=True, slots=True)
class NetworkList:
    """A network: a name, the version of CNI to talk, and a chain of plugins."""

    name: str
    cni_version: str
    plugins: tuple[Plugin, ...]
    source: str
    """The file it came from, or another description for messages."""
    config: bytes
    """The list as JSON, for the cache and the sandbox record."""
    disable_check: bool = False
    disable_gc: bool = False
    offered: tuple[str, ...] = ()
    """The versions that we know of those it offers, oldest first; `cni_version` is the last unless negotiated."""

    @property
    def has_check(self) -> bool:
        """Whether its version has CHECK, and gives DEL the result of ADD."""
        return VERSIONS.index(self.cni_version) >= VERSIONS.index("0.4.0")

    @property
    def has_status(self) -> bool:
        """Whether its version has STATUS and GC."""
        return VERSIONS.index(self.cni_version) >= VERSIONS.index("1.1.0")


def parse_file(path: Path, data: bytes) -> NetworkList:
    """Read a configuration file of either form, by its suffix. Raises ConfigurationError."""
    if len(data) > LARGEST_FILE_BYTES:
        raise ConfigurationError(path, f"larger than {LARGEST_FILE_BYTES} bytes")
    if path.suffix == ".conflist":
        return parse_list(data, path)
    return _parse_single(data, path)


def parse_list(data: bytes, source: Path | str) -> NetworkList:
    """Read a network list. Raises ConfigurationError naming `source` and the mistake."""
    document = _decode(data, source)
    if "plugins" not in document and "type" in document:
        raise ConfigurationError(
            source, "has 'type' but no 'plugins': a single plugin belongs in a .conf file"
        )
    plugins = document.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise ConfigurationError(source, "'plugins' must be a non-empty array of plugin configurations")
    offered = _versions(document, source)
    return NetworkList(
        name=_network_name(document, source),
        cni_version=offered[-1],
        plugins=tuple(_plugin(item, f"plugins[{index}]", source) for index, item in enumerate(plugins)),
        source=str(source),
        config=data,
        disable_check=_boolean(document, "disableCheck", source),
        disable_gc=_boolean(document, "disableGC", source),
        offered=offered,
    )


def at_version(network: NetworkList, version: str) -> NetworkList:
    """The same list speaking one of the versions that it offers, also when it is read back from a record."""
    document = decode_object(network.config)
    document.pop("cniVersions", None)
    return replace(network, cni_version=version, config=encode(document | {"cniVersion": version}))


def parse_stored(data: bytes, source: Path | str) -> NetworkList:
    """Read a configuration of either form from a cache or record. Raises ConfigurationError."""
    document = _decode(data, source)
    return parse_list(data, source) if "plugins" in document else _parse_single(data, source)


def _parse_single(data: bytes, source: Path | str) -> NetworkList:
    document = _decode(data, source)
    if "plugins" in document and "type" not in document:
        raise ConfigurationError(
            source, "has 'plugins' but no 'type': a list of plugins belongs in a .conflist file"
        )
    plugin = _plugin(document, "", source)
    name = _network_name(document, source)
    offered = _versions(document, source)
    version = offered[-1]
    upgraded: JsonObject = {"name": name, "cniVersion": version, "plugins": [document]}
    return NetworkList(
        name=name, cni_version=version, plugins=(plugin,), source=str(source), config=encode(upgraded)
    )


def _decode(data: bytes, source: Path | str) -> JsonObject:
    try:
        return decode_object(data)
    except JsonError as error:
        raise ConfigurationError(source, str(error)) from None


def _network_name(document: JsonObject, source: Path | str) -> str:
    name = document.get("name")
    if name is None or name == "":
        raise ConfigurationError(source, "'name' is missing: every network needs a name")
    if not isinstance(name, str):
        raise ConfigurationError(source, "'name' must be a string")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            source,
            f"'name' is {_shown(name)}: only letters, digits, '_', '.', '-', and not the latter first",
        )
    if len(name) > LONGEST_NAME:
        raise ConfigurationError(
            source, f"'name' has {len(name)} characters, at most {LONGEST_NAME} are possible"
        )
    return name


def _plugin(item: Json, place: str, source: Path | str) -> Plugin:
    prefix = f"{place}." if place else ""
    if not isinstance(item, dict):
        raise ConfigurationError(source, f"{place} must be an object")
    kind = item.get("type")
    if kind is None or kind == "":
        raise ConfigurationError(source, f"'{prefix}type' is missing: it names the plugin's program")
    if not isinstance(kind, str):
        raise ConfigurationError(source, f"'{prefix}type' must be a string")
    if kind in (".", "..") or _NOT_IN_TYPE.search(kind):
        raise ConfigurationError(
            source, f"'{prefix}type' is {_shown(kind)}: it must be a plain file name, without any path"
        )
    return Plugin(type=kind, document=item, capabilities=_capabilities(item, prefix, source))


def _capabilities(item: JsonObject, prefix: str, source: Path | str) -> frozenset[str]:
    capabilities = item.get("capabilities")
    if capabilities is None:
        return frozenset()
    if not isinstance(capabilities, dict):
        raise ConfigurationError(source, f"'{prefix}capabilities' must be an object of booleans")
    for name, wanted in capabilities.items():
        if not isinstance(wanted, bool):
            raise ConfigurationError(source, f"'{prefix}capabilities.{name}' must be true or false")
    return frozenset(name for name, wanted in capabilities.items() if wanted)


def _versions(document: JsonObject, source: Path | str) -> tuple[str, ...]:
    """What `cniVersion` and `cniVersions` offer and we know, oldest first; never empty."""
    single = document.get("cniVersion")
    several = document.get("cniVersions")
    if several is None:
        return (OLDEST_VERSION if single is None or single == "" else _known_version(single, source),)
    if not isinstance(several, list) or not all(isinstance(version, str) for version in several):
        raise ConfigurationError(source, "'cniVersions' must be an array of strings")
    offered: Sequence[Json] = [*several, *([] if single is None else [single])]
    known = tuple(version for version in VERSIONS if version in offered)
    if not known:
        raise ConfigurationError(source, f"none of its 'cniVersions' is known here ({', '.join(VERSIONS)})")
    return known


def _known_version(version: Json, source: Path | str) -> str:
    if not isinstance(version, str):
        raise ConfigurationError(source, "'cniVersion' must be a string")
    if version not in VERSIONS:
        raise ConfigurationError(
            source, f"'cniVersion' {_shown(version)} is not known here; known are {', '.join(VERSIONS)}"
        )
    return version


def _boolean(document: JsonObject, key: str, source: Path | str) -> bool:
    """libcni takes the strings "true" and "false" in any case for these keys, too."""
    value = document.get(key)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value is None or isinstance(value, bool):
        return bool(value)
    raise ConfigurationError(source, f"'{key}' must be true or false")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
