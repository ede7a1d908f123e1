"""The Unix socket that kubelet and crictl connect to."""

from __future__ import annotations

import socket
from pathlib import Path

from cri.errors import FailedPrecondition

UNIX_PREFIX = "unix://"


def socket_path(address: str) -> Path:
    """The path of a socket address with or without unix://."""
    return Path(address.removeprefix(UNIX_PREFIX))


def remove_stale_socket(path: Path) -> None:
    """Remove what a killed server left. Blocking. Raises FailedPrecondition if a server answers there."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise FailedPrecondition(
        f"{path} is served by another process; stop it first, or choose another --listen"
    )
