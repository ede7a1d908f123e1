"""Port-forwarding to a pod: which network namespace its ports are in, and whether there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cri.errors import FailedPrecondition
from cri.network.dial import dial_loopback
from cri.stream.endpoints import PortForwardCall

if TYPE_CHECKING:
    import socket

    from cri.state.sandbox import Sandbox


def port_forward_call(sandbox: Sandbox, ports: tuple[int, ...]) -> PortForwardCall:
    """What a port-forward URL for the sandbox stands for. Raises FailedPrecondition unless it is ready."""
    _require_ready(sandbox)
    return PortForwardCall(PodDialler(sandbox), ports)


class PodDialler:
    """See cri.stream.endpoints.PortDialler."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def dial(self, port: int) -> socket.socket:
        """A connected, non-blocking socket."""
        _require_ready(self._sandbox)
        path = self._sandbox.record.network_namespace
        return await dial_loopback(Path(path) if path else None, port)


def _require_ready(sandbox: Sandbox) -> None:
    if not sandbox.ready:
        raise FailedPrecondition(f"{sandbox} is not ready; its ports cannot be reached")
