"""How the record of a sandbox without a process says so: where mounts hold the namespaces, and since which boot.

It is an extension of our own beside the sandbox's metadata, written with the record, before there is any namespace. A
sandbox whose record lacks it is held by a process; so is one with an empty extension, since containerd keeps every
extension that a record ever had (1.6 to 2.x: an update only adds and overwrites). The network namespace is named in the
metadata in either case.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.containerd import TypedValue

if TYPE_CHECKING:
    from collections.abc import Iterator

PINS_EXTENSION = "io.cri-shim.sandbox.pins"
PINS_TYPE = "io.cri-shim.v1/SandboxPins"
NO_PINS = TypedValue(PINS_TYPE, b"")
"""In the place of pins that were given up for a process."""
_NAMESPACES = ("ipc", "uts", "user")


@dataclass(frozen=True, slots=True)
class Pins:
    """Paths of pinned namespaces beside that of the network; empty for those that the pod shares with the host."""

    boot_id: str
    """Of the kernel that has the namespaces: no path leads to them after the next boot."""
    ipc: str = ""
    uts: str = ""
    user: str = ""

    def __iter__(self) -> Iterator[str]:
        """The paths that there are."""
        return (path for name in _NAMESPACES if (path := getattr(self, name)))

    def to_extension(self) -> TypedValue:
        """The extension."""
        paths = {name: path for name in _NAMESPACES if (path := getattr(self, name))}
        return TypedValue(PINS_TYPE, json.dumps({"bootId": self.boot_id, "paths": paths}).encode())

    @classmethod
    def from_extension(cls, extension: TypedValue) -> Pins:
        """Read it back. Raises ValueError, KeyError, TypeError."""
        value = json.loads(extension.value)
        paths = {name: str(value["paths"].get(name, "")) for name in _NAMESPACES}
        return cls(str(value["bootId"]), **paths)
