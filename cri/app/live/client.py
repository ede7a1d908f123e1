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

    from cri.app.housekeeping.work import CheckValue, LeftoverValue
    from cri.app.reloading import ChangeValue
    from cri.observe.admin import InFlight
    from cri.observe.timelines import Timeline

TIMEOUT_SECONDS = 10.0
WORK_SECONDS = 300.0
"""For what goes over the whole node."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
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

    def reload(self) -> list[ChangeValue]:
        """Have the configuration read again; what is different."""
        return cast("list[ChangeValue]", self._ask("POST", "/reload"))

    def configuration(self) -> str:
        """The configuration in effect, as TOML."""
        return cast("str", self._ask("GET", "/configuration"))

    def leftovers(self) -> list[LeftoverValue]:
        """What nobody owns any more."""
        return cast("list[LeftoverValue]", self._ask("GET", "/leftovers", seconds=WORK_SECONDS))

    def collect_garbage(self) -> list[LeftoverValue]:
        """Have it removed."""
        return cast("list[LeftoverValue]", self._ask("POST", "/gc", seconds=WORK_SECONDS))

    def consistency(self) -> CheckValue:
        """Contradictions and leftovers."""
        return cast("CheckValue", self._ask("GET", "/consistency", seconds=WORK_SECONDS))

    def disk(self) -> dict[str, object]:
        """Who holds what on disk."""
        return cast("dict[str, object]", self._ask("GET", "/disk", seconds=WORK_SECONDS))

    def _ask(
        self, method: str, target: str, body: str | None = None, seconds: float = TIMEOUT_SECONDS
    ) -> object:
        connection = _UnixConnection(self._path, seconds)
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
