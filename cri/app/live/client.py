"""Asks a running server over its admin socket. Synchronous: these commands do one thing and end."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from cri.errors import CriError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from cri.observe.admin import InFlight
    from cri.observe.timelines import Timeline

TIMEOUT_SECONDS = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))


class AdminClient:
    """One server's admin socket. Every call raises Unavailable when nobody answers, CriError when it refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def operations(self, *, stacks: bool) -> list[InFlight]:
        """What is in flight, oldest first."""
        return cast("list[InFlight]", self._ask("GET", "/operations" + ("?stacks=1" if stacks else "")))

    def timeline(self, pod: str) -> Timeline:
        """How a pod started."""
        return cast("Timeline", self._ask("GET", f"/timelines/{quote(pod)}"))

    def set_log_level(self, level: str) -> None:
        """Change what the server logs from now on."""
        self._ask("PUT", "/log-level", level)

    def _ask(self, method: str, target: str, body: str | None = None) -> object:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"no server answers at {self._path}: {error}; name its state directory with --state, "
                "or the directory of an embedded one with --embedded, and be root"
            ) from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise CriError(str(answer["error"]))
        return answer
