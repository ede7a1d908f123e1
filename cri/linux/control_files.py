"""Writing the control files of a cgroup: all of them or none.

Files of one cgroup bound each other (on version 1 memory may not exceed memory plus swap), so whether an order of
writing works depends on what is there. It is tried as given, then in reverse; when neither works the old contents are
written back.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cri.linux.cgroups import directory_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNLIMITED_BYTES: Final = 1 << 62
"""Version 1 shows no limit as the largest number of whole pages; nothing real comes near it."""


@dataclass(frozen=True, slots=True)
class ControlFile:
    """A control file of some cgroup and what to write; `controller` is empty on version 2."""

    controller: str
    name: str
    value: str


def write_control_files(cgroup: str, files: Sequence[ControlFile]) -> None:
    """Write `files` of the cgroup whose path is `cgroup`. Blocking.

    Files whose hierarchy does not have the cgroup are left out. Raises OSError naming the file that the kernel
    refuses; then all are as they were.
    """
    wanted = [(path, file.value) for file in files if (path := _path(cgroup, file)) is not None]
    before = [(path, path.read_text(encoding="ascii").strip()) for path, _ in wanted]
    try:
        _write(wanted)
    except OSError:
        _restore(before)
        try:
            _write(wanted[::-1])
        except OSError:
            _restore(before)
            raise


def limits_something(cgroup: str, file: ControlFile) -> bool:
    """Whether the file has a limit in it now: neither missing nor "max", -1 or a number beyond any memory. Blocking."""
    path = _path(cgroup, file)
    if path is None:
        return False
    first = path.read_text(encoding="ascii").split(" ", 1)[0].strip()
    return first not in ("max", "-1", "") and not (first.isdecimal() and int(first) >= UNLIMITED_BYTES)


def _path(cgroup: str, file: ControlFile) -> Path | None:
    directory = directory_of(cgroup, file.controller)
    if directory is None:
        return None
    path = directory / file.name
    return path if path.exists() else None


def _write(contents: Sequence[tuple[Path, str]]) -> None:
    for path, value in contents:
        try:
            path.write_text(value, encoding="ascii")
        except OSError as error:  # the kernel refuses at write(2), and that error names no file
            raise OSError(error.errno, f"{error.strerror} (writing {value!r})", str(path)) from None


def _restore(contents: Sequence[tuple[Path, str]]) -> None:
    for path, value in (*contents, *contents[::-1]):
        with contextlib.suppress(OSError):
            path.write_text(value, encoding="ascii")
