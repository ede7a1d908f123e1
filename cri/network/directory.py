"""The CNI configuration directory as it stands now: which networks it gives, and what is wrong with the rest.

Blocking; called in threads. The convention is that of containerd and CRI-O: files ending in .conf, .conflist
or .json count, in the order of their names, and the first `max_conf_num` of them are the pod's networks. A
file that cannot be used is passed over and named, so that one bad file does not take the node's network away.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.network.configuration import LARGEST_FILE_BYTES, SUFFIXES, NetworkList, parse_file
from cri.network.errors import ConfigurationError
from cri.network.invocation import find_program, missing_program

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cri.network.settings import NetworkSettings


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at the directory."""

    networks: tuple[NetworkList, ...] = ()
    problems: tuple[str, ...] = ()
    """One text per file that was passed over: its path and the mistake."""
    obstacle: str = ""
    """Why there is nothing to choose from (no directory, no file), else empty."""


def scan(settings: NetworkSettings) -> Scan:
    """Read the configuration directory. Raises nothing: whatever is wrong is in the result."""
    try:
        files = _candidates(settings.conf_dir)
    except FileNotFoundError:
        return Scan(obstacle=f"the configuration directory {settings.conf_dir} does not exist")
    except OSError as error:
        return Scan(obstacle=f"the configuration directory {settings.conf_dir}: {error.strerror}")
    if not files:
        return Scan(obstacle=f"no {', '.join(SUFFIXES)} file in {settings.conf_dir}")
    networks: list[NetworkList] = []
    problems: list[str] = []
    for path in files:
        if 0 < settings.max_conf_num <= len(networks):
            break
        try:
            network = parse_file(path, _content(path))
            _require_new_name(network, networks)
            _require_programs(network, settings.bin_dirs)
        except ConfigurationError as error:
            problems.append(str(error))
        else:
            networks.append(network)
    return Scan(networks=tuple(networks), problems=tuple(problems))


def _candidates(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if os.path.splitext(entry.name)[1] in SUFFIXES)
    return [path for name in names if not (path := directory / name).is_dir()]


def _content(path: Path) -> bytes:
    """The file's bytes, one more than is allowed at most. A FIFO or device is refused, not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigurationError(path, "is not a regular file")
            return file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(path, f"cannot be read: {error.strerror}") from None


def _require_new_name(network: NetworkList, earlier: Iterable[NetworkList]) -> None:
    for other in earlier:
        if other.name == network.name:
            raise ConfigurationError(
                network.source, f"the network name {network.name!r} is taken by {other.source}"
            )


def _require_programs(network: NetworkList, bin_dirs: tuple[Path, ...]) -> None:
    for plugin in network.plugins:
        if find_program(plugin.type, bin_dirs) is None:
            raise ConfigurationError(network.source, missing_program(plugin.type, bin_dirs))
