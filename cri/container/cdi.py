"""The CDI devices of this node: specification files of the configured directories, read again when they change.

What a file means is `cri.oci.cdi`'s business. Device plugins write files just before the pod that needs them comes, so
a request for a device that is not known reads the directories once more instead of trusting the watch to have been
faster.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from cri.container.devices import node
from cri.linux.directory_watch import DirectoryWatch
from cri.oci.cdi import CdiRegistry, SpecFile, build_registry, requested_edits, requested_names, unknown_nodes
from cri.oci.cdi_spec import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.wire import criv1
    from cri.oci.devices import HostDevice
    from cri.oci.settings import OciSettings

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 60.0
"""How long a change may go unnoticed where the kernel does not tell of it."""
MOST_FILE_BYTES = 4 << 20


class CdiDevices:
    """The devices as they were last read."""

    def __init__(self, directories: Iterable[str] = ()) -> None:
        """`directories` in order of rising priority; without any there are no devices."""
        self._directories = tuple(map(Path, directories))
        self.registry = CdiRegistry()

    async def run(self) -> None:
        """Follow the directories for ever."""
        async with DirectoryWatch(self._directories) as watch:
            while True:
                await watch.arm()
                await self.read()
                await watch.changed(LONGEST_WAIT_SECONDS)

    async def read(self) -> CdiRegistry:
        """Read everything anew, log what is newly wrong, and return it."""
        found = build_registry(await asyncio.to_thread(_files, self._directories))
        for path, problem in found.errors.items():
            if self.registry.errors.get(path) != problem:
                log.warning("CDI specification cannot be used", file=path, problem=problem)
        for name, files in found.conflicts.items():
            if self.registry.conflicts.get(name) != files:
                log.warning("CDI device is in several files and cannot be used", device=name, files=files)
        self.registry = found
        return found

    async def registry_for(self, config: criv1.ContainerConfig, settings: OciSettings) -> CdiRegistry | None:
        """The devices to resolve a request by; None where the request has none, or CDI is switched off."""
        names = requested_names(config) if settings.enable_cdi else ()
        if not names:
            return None
        return self.registry if all(name in self.registry.devices for name in names) else await self.read()


async def nodes_of(
    config: criv1.ContainerConfig, registry: CdiRegistry | None, settings: OciSettings
) -> Mapping[str, HostDevice]:
    """The host's device nodes that the requested devices name without type or numbers. Raises InvalidArgument."""
    paths = unknown_nodes(requested_edits(config, registry, settings))
    found = await asyncio.to_thread(lambda: {path: node(path) for path in paths}) if paths else {}
    return {path: device for path, device in found.items() if device is not None}


def problems(registry: CdiRegistry) -> list[str]:
    """One line for each device that is claimed twice, and for each file that cannot be used."""
    conflicts = [f"{name} is in {' and '.join(files)}" for name, files in sorted(registry.conflicts.items())]
    return [*conflicts, *(registry.errors[path] for path in sorted(registry.errors))]


def _files(directories: Iterable[Path]) -> list[SpecFile]:
    return [
        file
        for priority, directory in enumerate(directories)
        for path in _candidates(directory)
        if (file := _read(path, priority)) is not None
    ]


def _candidates(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.suffix in SUFFIXES]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: Path, priority: int) -> SpecFile | None:
    try:
        with path.open("rb") as file:
            return SpecFile(str(path), priority, file.read(MOST_FILE_BYTES))
    except OSError as error:  # removed meanwhile, or a directory: no specification
        log.debug("CDI specification is not there", file=str(path), error=str(error))
        return None
