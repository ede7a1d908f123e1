"""containerd's configuration (versions 1, 2 and 3) turned into ours, with a comment for every key left out. Pure
but for `migrate_file`.

The CRI plugin's tables of all versions are brought into the shape of version 2 first; then each key is moved,
changed, or left out with a reason. Values equal to our defaults are not written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cri.app.config.containerd_keys import (
    CRI_TABLES,
    IMAGES_TABLE,
    MOVED,
    MOVED_IMAGE_KEYS,
    MOVED_RUNTIME_KEYS,
    NOWHERE,
    OLD_RUNTIME_TYPES,
    RUNTIME_TABLE,
    VERIFIER_TABLE,
)
from cri.app.config.known_keys import default_of, is_known
from cri.app.config.problems import ConfigurationError, KeyPath, Place, Problem, dotted
from cri.app.config.render import comment, toml_value

if TYPE_CHECKING:
    from pathlib import Path

NO_COUNTERPART = "there is no such setting here"
WILDCARD = "*"
_MOVED_BY_TABLE = {IMAGES_TABLE: MOVED_IMAGE_KEYS, RUNTIME_TABLE: MOVED_RUNTIME_KEYS}

Leaves = dict[KeyPath, object]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A key that has no counterpart."""

    path: KeyPath
    value: object
    reason: str


@dataclass(slots=True)
class Migration:
    """What became of the keys."""

    values: Leaves = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def migrate_file(path: Path) -> str:
    """Our configuration for a containerd configuration file. Raises ConfigurationError if it cannot be read."""
    try:
        text = path.read_text()
        source = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError([Problem(Place(str(path)), (), str(error))]) from error
    return to_toml(migrate(source), f"Made by cri-shim config migrate from {path}.")


def migrate(source: Mapping[str, object]) -> Migration:
    """Move, change or leave out every key that concerns CRI."""
    result = Migration()
    leaves = _cri_leaves(source)
    _drop_unused_runtimes(leaves, result)
    for path, value in leaves.items():
        _place(path, value, result)
    _rest_of_containerd(source, result)
    result.values = {
        path: value
        for path, value in result.values.items()
        if not _is_default(path, value) or path[-1] == "runtime_type"
    }
    return result


def to_toml(migration: Migration, title: str) -> str:
    """The result as a TOML file."""
    lines = [comment(title), *(comment(remark) for remark in migration.remarks)]
    lines += _tables(migration.values)
    if migration.left_out:
        lines += ["", "# Not taken over:"]
        lines += [
            comment(f"{dotted(each.path)} = {toml_value(each.value)}: {each.reason}", 110)
            for each in migration.left_out
        ]
    return "\n".join(lines) + "\n"


def _cri_leaves(source: Mapping[str, object]) -> Leaves:
    """The keys of all CRI tables in the shape of version 2."""
    version = source.get("version", 1)
    plugins = _table(source, "plugins")
    leaves: Leaves = {}
    for name in CRI_TABLES.get(version if isinstance(version, int) else 0, CRI_TABLES[3]):
        moved = _MOVED_BY_TABLE.get(name, {})
        for path, value in _leaves(_table(plugins, name), ()):
            leaves[moved.get(path, path)] = value
    return leaves


def _drop_unused_runtimes(leaves: Leaves, result: Migration) -> None:
    """The two unnamed runtimes of old files count only where they have a type."""
    for name, handler in (("default_runtime", "default"), ("untrusted_workload_runtime", "untrusted")):
        prefix = ("containerd", name)
        if leaves.get((*prefix, "runtime_type")):
            if handler == "default":
                leaves["containerd", "default_runtime_name"] = handler
            continue
        for path in [path for path in leaves if path[:2] == prefix]:
            del leaves[path]
    if any(path[:2] == ("registry", "mirrors") for path in leaves):
        result.remarks.append(
            "registry.mirrors works, but containerd has given it up: write a hosts.toml for each host."
        )


def _place(path: KeyPath, value: object, result: Migration) -> None:
    target = _moved(path)
    reason = _lookup(NOWHERE, target)
    if target[:1] == ("pinned_images",):
        images = result.values.setdefault(("pinned_images",), [])
        if isinstance(images, list):
            images.append(value)
    elif target == ("use_local_image_pull",):
        result.values["image_pull_engine",] = "local" if value else "auto"
    elif target[-1] == "runtime_type" and value in OLD_RUNTIME_TYPES:
        result.values[target] = OLD_RUNTIME_TYPES[str(value)]
        result.remarks.append(f"{dotted(target)}: containerd no longer has {value}.")
    elif reason or not is_known(target):
        result.left_out.append(LeftOut(path, value, reason or NO_COUNTERPART))
    else:
        result.values[target] = value


def _rest_of_containerd(source: Mapping[str, object], result: Migration) -> None:
    """What matters outside of the CRI tables: containerd's socket, verifiers, imported files."""
    address = _table(source, "grpc").get("address")
    if address:
        result.values["containerd", "address"] = address
    for path, value in _leaves(_table(_table(source, "plugins"), VERIFIER_TABLE), ("image_verifier",)):
        if is_known(path):
            result.values[path] = value
    if source.get("imports"):
        result.remarks.append(
            "The file imports others, which were not read: migrate the output of `containerd config dump` instead."
        )


def _moved(path: KeyPath) -> KeyPath:
    if path[:2] == ("registry", "auths") and len(path) > 2:
        path = (*path[:2], urlsplit(path[2]).netloc or path[2], *path[3:])
    for pattern, target in MOVED.items():
        carried = _match(pattern, path)
        if carried is not None:
            names = iter(carried)
            return tuple(next(names) if part == WILDCARD else part for part in target)
    return path


def _lookup(reasons: Mapping[KeyPath, str], path: KeyPath) -> str:
    return next((reason for pattern, reason in reasons.items() if _match(pattern, path) is not None), "")


def _match(pattern: KeyPath, path: KeyPath) -> list[str] | None:
    """The parts that stand for wildcards, None if the path does not fit."""
    if len(pattern) != len(path):
        return None
    if any(wanted not in (WILDCARD, part) for wanted, part in zip(pattern, path, strict=True)):
        return None
    return [part for wanted, part in zip(pattern, path, strict=True) if wanted == WILDCARD]


def _leaves(table: Mapping[str, object], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _table(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    below = values.get(name)
    return below if isinstance(below, Mapping) else {}


def _is_default(path: KeyPath, value: object) -> bool:
    default = default_of(path)
    return value == (list(default) if isinstance(default, tuple) else default)


def _tables(values: Leaves) -> Iterator[str]:
    """TOML lines: top-level keys, then one table after the other."""
    by_table: dict[KeyPath, list[tuple[str, object]]] = {}
    for path, value in values.items():
        by_table.setdefault(path[:-1], []).append((path[-1], value))
    for table in sorted(by_table):
        yield ""
        if table:
            yield f"[{dotted(table)}]"
        for name, value in by_table[table]:
            yield f"{dotted((name,))} = {toml_value(value)}"
