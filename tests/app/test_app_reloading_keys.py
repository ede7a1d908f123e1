"""Each key either needs a restart, and says so, or shapes something that a reload replaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import pytest

from cri.app.config import assembly
from cri.app.config.configuration import Configuration
from cri.app.config.decode import types_of
from cri.app.config.durations import Duration
from cri.app.config.fields import meaning_of
from cri.app.config.schema import RegistryHostSection, RegistryMirrorSection, RuntimeSection

Path = tuple[str, ...]


def live_keys(section: Any, path: Path = ()) -> Iterator[tuple[Path, object, object]]:
    """Path, type and default of every key that a running server takes over."""
    for declared in dataclasses.fields(section):
        if meaning_of(declared).restart:
            continue
        value, here = getattr(section, declared.name), (*path, declared.name)
        if dataclasses.is_dataclass(value):
            yield from live_keys(value, here)
        else:
            yield here, types_of(type(section))[declared.name], value


def another(path: Path, kind: object, value: object) -> object:
    """A value that is not the default."""
    if get_origin(kind) is Literal:
        return next(each for each in reversed(get_args(kind)) if each != value)
    if isinstance(value, Mapping):
        added = {
            "runtimes": RuntimeSection(),
            "configs": RegistryHostSection(),
            "mirrors": RegistryMirrorSection(),
        }
        return {**value, "added": added.get(path[-1], ("x",))}
    if isinstance(value, bool):
        return not value
    if isinstance(value, Duration):
        return Duration(value + 1)
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, "/added")
    return f"{value}x" if value else "/x"


def with_key(section: Any, path: Path, value: object) -> Any:
    name, *below = path
    changed = with_key(getattr(section, name), tuple(below), value) if below else value
    return dataclasses.replace(section, **{name: changed})


def taken_over(configuration: Configuration) -> list[object]:
    """Everything that `Reloading` replaces, as far as the configuration shapes it."""
    return [
        assembly.image_settings(configuration),
        assembly.registry_settings(configuration),
        assembly.oci_settings(configuration),
        assembly.container_settings(configuration),
        assembly.sandbox_settings(configuration),
        assembly.stream_settings(configuration),
        assembly.network_settings(configuration),
        configuration.containerd.runtimes,
        configuration.containerd.default_runtime_name,
        configuration.janitor.interval,
        configuration.debug,
    ]


@pytest.mark.parametrize(
    ("path", "kind", "value"), [pytest.param(*key, id=".".join(key[0])) for key in live_keys(Configuration())]
)
def test_a_key_without_restart_is_taken_over(path: Path, kind: object, value: object):
    changed = with_key(Configuration(), path, another(path, kind, value))
    assert taken_over(changed) != taken_over(Configuration()), (
        f"a reload does not take over {'.'.join(path)}: mark it with restart=True, or have it taken over"
    )
