"""What the host has behind the mounts of a request: missing directories made, links resolved, propagation read.

The kubelet expects a missing host path to be created as a directory (CRI, as every runtime does it).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.linux.mounts import Propagation, mount_of
from cri.oci.mounts import MountSource
from cri.oci.mounts import Propagation as PropagationName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMES: Mapping[Propagation, PropagationName] = {
    Propagation.PRIVATE: "private",
    Propagation.SLAVE: "slave",
    Propagation.SHARED: "shared",
    Propagation.SHARED_SLAVE: "shared",
    Propagation.UNBINDABLE: "private",
}


def mount_sources(mounts: Iterable[criv1.Mount]) -> Mapping[str, MountSource]:
    """By `host_path` of the request. Blocking. Raises InvalidArgument for a path that cannot be used."""
    return {mount.host_path: _source(mount) for mount in mounts if mount.host_path}


def _source(mount: criv1.Mount) -> MountSource:
    path = mount.host_path
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"mounts: host_path {path!r} must be an absolute path")
    try:
        if not os.path.lexists(path):
            Path(path).mkdir(parents=True, exist_ok=True, mode=0o755)
        resolved = os.path.realpath(path, strict=True)
        if mount.propagation == criv1.PROPAGATION_PRIVATE:
            return MountSource(
                resolved
            )  # the mount below it does not matter, and the table is long on a busy node
        below = mount_of(Path(resolved))
    except OSError as error:
        raise InvalidArgument(f"mounts: host_path {path!r} cannot be used: {error.strerror}") from error
    return MountSource(resolved, below.mount_point, NAMES[below.propagation])
