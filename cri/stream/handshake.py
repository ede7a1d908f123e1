"""The HTTP/1.1 request in front of every stream, by h11: read it, find out what is asked for, agree on a protocol.

Nothing is started here. What is wrong with a request is raised as Refused, which is the answer.

The URL's token is what authorises. A request must also name us by a loopback name or by the address that we listen on,
which is what a browser cannot do that a hostile page has led here by a name of its own. The kubelet passes on the
`Host` by which it was reached itself; its proxy says so with `X-Forwarded-For`, which no page can set on an upgrade.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import h11
from wsproto.utilities import generate_accept_token

from cri.stream.channels import Coding
from cri.stream.endpoints import PortForwardCall
from cri.stream.errors import Refused
from cri.stream.port_forward import PROTOCOL, TUNNEL_PROTOCOL
from cri.stream.remote_command import V1, V2, V3, V4, V5, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.stream.endpoints import Call

MOST_HEADER_BYTES: Final = 16 << 10
SPDY: Final = "SPDY/3.1"
SPDY_VERSION_HEADER: Final = "X-Stream-Protocol-Version"
SPDY_ACCEPTED_HEADER: Final = "X-Accepted-Stream-Protocol-Versions"
WEBSOCKET_VERSION: Final = "13"


@dataclass(frozen=True, slots=True)
class OverSpdy:
    """SPDY with this protocol name."""

    protocol: str


@dataclass(frozen=True, slots=True)
class OverWebSocket:
    """WebSocket with this subprotocol; empty when the client names none."""

    protocol: str


Carrier = OverSpdy | OverWebSocket

SPDY_COMMANDS: Final[Mapping[str, Version]] = {version.name: version for version in (V4, V3, V2, V1)}
WEBSOCKET_COMMANDS: Final[Mapping[str, tuple[Version, Coding]]] = {
    "": (V1, Coding.RAW),
    "channel.k8s.io": (V1, Coding.RAW),
    "base64.channel.k8s.io": (V1, Coding.BASE64),
    "v4.channel.k8s.io": (V4, Coding.RAW),
    "v4.base64.channel.k8s.io": (V4, Coding.BASE64),
    "v5.channel.k8s.io": (V5, Coding.RAW),
}
WEBSOCKET_FORWARDS: Final[Mapping[str, Coding]] = {
    "": Coding.RAW,
    "v4.channel.k8s.io": Coding.RAW,
    "v4.base64.channel.k8s.io": Coding.BASE64,
}


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A request whose head is complete."""

    path: str
    method: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    trailing: bytes
    """What the client has sent behind it already."""

    def values(self, name: str) -> list[str]:
        """The comma-separated values of all headers of this name."""
        values = (value for key, value in self.headers if key == name.lower())
        return [part.strip() for value in values for part in value.split(",") if part.strip()]

    def value(self, name: str) -> str:
        """The first header of this name, else empty."""
        return next((value for key, value in self.headers if key == name.lower()), "")


class Handshake:
    """Reads one request and writes its answer."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)
        self._request: h11.Request | None = None
        self._received = 0

    def receive(self, data: bytes) -> UpgradeRequest | None:
        """Take in bytes (none at the end of input); the request once it is complete. Raises Refused."""
        try:
            self._received += len(data)
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._request = event
                elif isinstance(event, h11.Data):
                    raise Refused(413, "a request for a stream has no body")
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    trailing = self._http.trailing_data[0]
                    if (
                        self._received - len(trailing) > MOST_HEADER_BYTES
                    ):  # h11 looks at what is incomplete only
                        raise Refused(431, f"the request's head is longer than {MOST_HEADER_BYTES} bytes")
                    return _read(self._request, trailing)
                else:
                    return None
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error)) from None

    def switch(self, headers: list[tuple[str, str]]) -> bytes:
        """The answer 101, after which the connection speaks something else."""
        return self._http.send(h11.InformationalResponse(status_code=101, headers=headers)) or b""

    def refuse(self, refusal: Refused) -> bytes:
        """The answer of a refusal, with its message as text."""
        body = f"{refusal.message}\n".encode()
        headers = [
            *refusal.headers,
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        try:
            head = self._http.send(h11.Response(status_code=refusal.status, headers=headers)) or b""
            return head + (self._http.send(h11.Data(data=body)) or b"")
        except h11.LocalProtocolError:
            return b""  # the client has already been answered, or has ended the exchange


def _read(request: h11.Request, trailing: bytes) -> UpgradeRequest:
    try:
        path = urlsplit(request.target.decode("ascii")).path
    except ValueError:
        raise Refused(400, "malformed request target") from None
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
    return UpgradeRequest(path, request.method.decode("ascii"), headers, trailing)


def check_host(request: UpgradeRequest, address: str) -> None:
    """Raise Refused unless the request names us; `address` is what we listen on."""
    try:
        host = urlsplit(f"//{request.value('host')}").hostname
    except ValueError:
        host = None
    if host is None:
        raise Refused(400, "the request does not say for which host it is")
    if host in ("localhost", address) or _is_loopback(host) or request.value("x-forwarded-for"):
        return
    raise Refused(403, f"streams are not served under the name {host}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def agree(request: UpgradeRequest, call: Call) -> tuple[Carrier, list[tuple[str, str]]]:
    """The carrier for `call` that both sides speak, and the headers of the answer that says so. Raises Refused."""
    if not any(token.lower() == "upgrade" for token in request.values("connection")):
        raise Refused(400, f"streams need an upgrade to {SPDY} or websocket")
    upgrades = [upgrade.lower() for upgrade in request.values("upgrade")]
    if "websocket" in upgrades:
        return _agree_on_websocket(request, call)
    if SPDY.lower() in upgrades:
        return _agree_on_spdy(request, call)
    raise Refused(
        400, f"streams need an upgrade to {SPDY} or websocket, not to {', '.join(upgrades) or 'nothing'}"
    )


def _agree_on_spdy(request: UpgradeRequest, call: Call) -> tuple[Carrier, list[tuple[str, str]]]:
    known = [PROTOCOL] if isinstance(call, PortForwardCall) else list(SPDY_COMMANDS)
    offered = request.values(SPDY_VERSION_HEADER)
    if not offered:
        raise Refused(400, f"the request names no protocol in {SPDY_VERSION_HEADER}")
    protocol = next((name for name in offered if name in known), None)
    if protocol is None:
        accepted = tuple((SPDY_ACCEPTED_HEADER, name) for name in known)
        raise Refused(403, f"the client speaks {', '.join(offered)}; {', '.join(known)} can be had", accepted)
    answer = [("Connection", "Upgrade"), ("Upgrade", SPDY), (SPDY_VERSION_HEADER, protocol)]
    return OverSpdy(protocol), answer


def _agree_on_websocket(request: UpgradeRequest, call: Call) -> tuple[Carrier, list[tuple[str, str]]]:
    if request.method != "GET":
        raise Refused(405, "a WebSocket begins with GET", (("Allow", "GET"),))
    if request.value("sec-websocket-version") != WEBSOCKET_VERSION:
        raise Refused(426, "unknown WebSocket version", (("Sec-WebSocket-Version", WEBSOCKET_VERSION),))
    key = request.value("sec-websocket-key")
    if not key:
        raise Refused(400, "the request has no Sec-WebSocket-Key")
    known = (
        [TUNNEL_PROTOCOL, *WEBSOCKET_FORWARDS] if isinstance(call, PortForwardCall) else [*WEBSOCKET_COMMANDS]
    )
    offered = request.values("sec-websocket-protocol") or [""]
    protocol = next((name for name in offered if name in known), None)
    if protocol is None:
        names = ", ".join(name for name in known if name)
        raise Refused(403, f"the client speaks {', '.join(offered)}; {names} can be had")
    if isinstance(call, PortForwardCall) and protocol != TUNNEL_PROTOCOL and not call.ports:
        raise Refused(400, f"forwarding over {protocol or 'channels'} needs the ports in the CRI request")
    accept = generate_accept_token(key.encode("latin-1")).decode()
    answer = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    if protocol:
        answer.append(("Sec-WebSocket-Protocol", protocol))
    return OverWebSocket(protocol), answer
