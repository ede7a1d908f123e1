"""The stream server: one listener for exec, attach and port-forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cri.stream.endpoints import Call
    from cri.stream.settings import StreamSettings


class StreamServer:
    """Hands out URLs and serves them."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings

    async def start(self) -> None:
        """Open the listener, so that URLs can be handed out. Raises Unavailable when the address cannot be had."""
        raise NotImplementedError

    async def run(self) -> None:
        """Serve clients for ever (`Supervisor.keep`); cancelled, it ends every session first."""
        raise NotImplementedError

    def url(self, call: Call) -> str:
        """A URL that starts `call` once within a minute. Raises ResourceExhausted."""
        raise NotImplementedError
