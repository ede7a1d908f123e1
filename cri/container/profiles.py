"""Seccomp profiles that live outside of the request, in files of the node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.oci.seccomp import profile_path

if TYPE_CHECKING:
    from api.wire import criv1
    from cri.oci.settings import OciSettings

MOST_PROFILE_BYTES = 4 << 20


def seccomp_profile(
    context: criv1.LinuxContainerSecurityContext | criv1.LinuxSandboxSecurityContext, settings: OciSettings
) -> bytes | None:
    """Contents of the Localhost profile in force, None if it is another kind. Blocking.

    Raises InvalidArgument naming a file that cannot be read.
    """
    path = profile_path(context, settings)
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            return file.read(MOST_PROFILE_BYTES)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"seccomp profile {path!r} cannot be read: {error}") from error
