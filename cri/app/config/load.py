"""Reading the configuration: defaults, then the file, then what was given on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from cri.app.config.checks import check
from cri.app.config.configuration import Configuration
from cri.app.config.decode import decode
from cri.app.config.lines import KeyLines
from cri.app.config.problems import ConfigurationError, KeyPath, Place, Problem
from cri.app.config.schema import RuntimeSection

DEFAULT_PATH = Path("/etc/cri-shim/config.toml")
DEFAULTS = Place("built-in defaults")
RUNC = "runc"


@dataclass(frozen=True, slots=True)
class Override:
    """One value that goes over the file's."""

    path: KeyPath
    value: object
    source: str
    """Who says so, for error messages: "flag --listen"."""


def load(path: Path | None = None, overrides: Iterable[Override] = ()) -> Configuration:
    """Read and check the configuration.

    `path` None means the default file, which need not exist; a file that is named must. Raises
    ConfigurationError with every problem found.
    """
    return read(_text(path), str(path or DEFAULT_PATH), overrides)


def read(text: str, source: str, overrides: Iterable[Override] = ()) -> Configuration:
    """The same from a text; `source` names it in errors."""
    values = _parse(text, source)
    lines = KeyLines(text)
    given = {}
    for override in overrides:
        _put(values, override)
        given[override.path] = override.source

    def where(path: KeyPath) -> Place:
        if path in given:
            return Place(given[path])
        line = lines.line(path)
        return DEFAULTS if line is None and not _is_written(values, path) else Place(source, line)

    configuration, problems = decode(Configuration, values, where)
    configuration = _with_runc(configuration)
    if not problems:
        problems = check(configuration, where)
    if problems:
        raise ConfigurationError(problems)
    return configuration


def _text(path: Path | None) -> str:
    try:
        return (path or DEFAULT_PATH).read_text()
    except FileNotFoundError:
        if path is None:
            return ""
        raise ConfigurationError([Problem(Place(str(path)), (), "no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([Problem(Place(str(path or DEFAULT_PATH)), (), str(error))]) from error


def _parse(text: str, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([Problem(Place(source), (), f"not TOML: {error}")]) from error


def _put(values: dict[str, object], override: Override) -> None:
    table = values
    for part in override.path[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            return  # the decoder reports the table that is none
        table = below
    table[override.path[-1]] = override.value


def _is_written(values: Mapping[str, object], path: KeyPath) -> bool:
    inside: object = values
    for part in path:
        if not isinstance(inside, Mapping) or part not in inside:
            return False
        inside = inside[part]
    return True


def _with_runc(configuration: Configuration) -> Configuration:
    """Handlers of the file stand beside the built-in one, unless one of them is called runc too."""
    runtimes = {RUNC: RuntimeSection(), **configuration.containerd.runtimes}
    containerd = replace(configuration.containerd, runtimes=MappingProxyType(runtimes))
    return replace(configuration, containerd=containerd)
