"""The stream server: one listener for exec, attach and port-forward.

    accept ──> TLS ──> request ──> token ──> agreement ──> session

A connection is one task; what goes wrong in it ends it alone. Until the request is complete a connection has
REQUEST_SECONDS, afterwards it may be silent for `stream_idle_timeout`.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import structlog

from cri.errors import Unavailable
from cri.stream.attach_session import serve_attach
from cri.stream.certificates import Certificates
from cri.stream.endpoints import AttachCall, Call, ExecCall, PortForwardCall
from cri.stream.errors import Refused
from cri.stream.exec_session import serve_exec
from cri.stream.handshake import (
    SPDY_COMMANDS,
    WEBSOCKET_COMMANDS,
    WEBSOCKET_FORWARDS,
    Carrier,
    Handshake,
    OverSpdy,
    UpgradeRequest,
    agree,
    check_host,
)
from cri.stream.listener import listen, reachable_at
from cri.stream.port_forward import TUNNEL_PROTOCOL, PortForwardProtocol
from cri.stream.port_forward_session import PortForwardSession
from cri.stream.remote_command_client import RemoteCommandClient
from cri.stream.spdy_port_forward import SpdyPortForward
from cri.stream.spdy_remote_command import SpdyRemoteCommand
from cri.stream.tokens import Tokens
from cri.stream.transport import Transport
from cri.stream.tunnel import TunnelledPortForward
from cri.stream.websocket_port_forward import WebSocketPortForward
from cri.stream.websocket_remote_command import WebSocketRemoteCommand

if TYPE_CHECKING:
    import socket

    from cri.stream.endpoints import Streams
    from cri.stream.remote_command import RemoteCommandProtocol
    from cri.stream.settings import StreamSettings

log = structlog.get_logger(__name__)

REQUEST_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 15.0
"""How often it is looked whether a client that is not being read from is still there."""
PATHS: Final[dict[str, type[Call]]] = {"exec": ExecCall, "attach": AttachCall, "portforward": PortForwardCall}
_PATH_OF: Final = {kind: path for path, kind in PATHS.items()}


class StreamServer:
    """Hands out URLs and serves them."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._tokens = Tokens()
        self._listener: socket.socket | None = None
        self._certificates: Certificates | None = None
        self._address = ""
        self._base = ""
        self.sessions = 0
        """Connections that are served now."""

    def reconfigure(self, settings: StreamSettings) -> None:
        """Other limits from now on; the address stays the one that is listened on."""
        self._settings = settings

    async def start(self) -> None:
        """Open the listener, so that URLs can be handed out. Raises Unavailable when the address cannot be had."""
        settings = self._settings
        self._listener = await asyncio.to_thread(
            listen, settings.stream_server_address, settings.stream_server_port
        )
        self._address, port = reachable_at(self._listener)
        scheme = "http"
        if settings.enable_tls_streaming:
            scheme = "https"
            self._certificates = await asyncio.to_thread(
                Certificates, settings.x509_key_pair_streaming, self._address
            )
        host = f"[{self._address}]" if ":" in self._address else self._address
        self._base = f"{scheme}://{host}:{port}"
        log.info("streams are served", address=self._base)

    async def run(self) -> None:
        """Serve clients for ever (`Supervisor.keep`); cancelled, it ends every session first."""
        loop = asyncio.get_running_loop()
        if self._listener is None:
            await self.start()
        assert self._listener is not None  # noqa: S101 - started above
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(self._listener)
                except OSError as error:  # out of descriptors, or the client has left already
                    log.warning("client could not be accepted", error=str(error))
                    await asyncio.sleep(0.1)
                    continue
                group.create_task(self._serve(accepted), name="stream client")

    def close(self) -> None:
        """Give up the listener; sessions that run are not concerned."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def url(self, call: Call) -> str:
        """A URL that starts `call` once within a minute. Raises ResourceExhausted, Unavailable before `start`."""
        if not self._base:
            raise Unavailable("the stream server has not been started yet")
        return f"{self._base}/{_PATH_OF[type(call)]}/{self._tokens.issue(call)}"

    async def _serve(self, accepted: socket.socket) -> None:
        self.sessions += 1
        try:
            transport = await self._transport(accepted)
            try:
                await self._connection(transport)
            finally:
                transport.abort()
        except (OSError, TimeoutError) as error:
            log.debug("stream client was lost", error=str(error))
        except Exception:
            log.exception("stream session failed")
        finally:
            accepted.close()
            self.sessions -= 1

    async def _transport(self, accepted: socket.socket) -> Transport:
        context = None
        if self._certificates is not None:
            await asyncio.to_thread(self._certificates.refresh)
            context = self._certificates.context
        _, transport = await asyncio.get_running_loop().connect_accepted_socket(
            Transport,
            accepted,
            ssl=context,
            ssl_handshake_timeout=None if context is None else REQUEST_SECONDS,
        )
        return transport

    async def _connection(self, transport: Transport) -> None:
        handshake = Handshake()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await _request(transport, handshake)
            if request is None:
                return
            check_host(request, self._address)
            call = self._redeem(request)
            carrier, answer = agree(request, call)
        except Refused as refusal:
            log.info(
                "stream request refused", client=transport.peer, status=refusal.status, reason=refusal.message
            )
            await transport.send([handshake.refuse(refusal)])
            await transport.close()
            return
        await transport.send([handshake.switch(answer)])
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(transport))
            await _session(transport, call, carrier, request.trailing)
            await transport.close()
            watching.cancel()

    def _redeem(self, request: UpgradeRequest) -> Call:
        """What the URL stands for. A token is used up even by a request that asks for the wrong thing."""
        kind, _, token = request.path.removeprefix("/").partition("/")
        if request.method not in ("GET", "POST"):
            raise Refused(405, "streams begin with GET or POST", (("Allow", "GET, POST"),))
        promise = self._tokens.redeem(token) if kind in PATHS else None
        if promise is None or not isinstance(promise.call, PATHS[kind]):
            raise Refused(404, "no such stream: URLs are good for one use within a minute")
        structlog.contextvars.bind_contextvars(
            **promise.about
        )  # for the connection, which is a task of its own
        return promise.call

    async def _watch(self, transport: Transport) -> None:
        """End a connection on which nothing moves, or whose client has left with its input unread."""
        limit = self._settings.stream_idle_timeout or math.inf
        loop = asyncio.get_running_loop()
        while True:
            silent = loop.time() - transport.last_activity
            if silent >= limit or transport.deserted:
                log.info("stream was idle for too long, or deserted", client=transport.peer, idle=silent)
                transport.abort()
                return
            await asyncio.sleep(min(limit - silent, LOOK_SECONDS))


async def _request(transport: Transport, handshake: Handshake) -> UpgradeRequest | None:
    while True:
        data = await transport.receive()
        request = handshake.receive(data)
        if request is not None or not data:
            return request


async def _session(transport: Transport, call: Call, carrier: Carrier, first: bytes) -> None:
    match call:
        case ExecCall():
            command = _remote_command(carrier, call.streams)
            await serve_exec(RemoteCommandClient(transport, command, first), call)
        case AttachCall():
            command = _remote_command(carrier, call.streams)
            await serve_attach(RemoteCommandClient(transport, command, first), call)
        case PortForwardCall():
            await PortForwardSession(
                transport, _port_forward(carrier, call.ports), first, call.dialler
            ).serve()


def _remote_command(carrier: Carrier, streams: Streams) -> RemoteCommandProtocol:
    if isinstance(carrier, OverSpdy):
        return SpdyRemoteCommand(SPDY_COMMANDS[carrier.protocol], streams)
    version, coding = WEBSOCKET_COMMANDS[carrier.protocol]
    return WebSocketRemoteCommand(version, coding, streams)


def _port_forward(carrier: Carrier, ports: tuple[int, ...]) -> PortForwardProtocol:
    if isinstance(carrier, OverSpdy):
        return SpdyPortForward()
    if carrier.protocol == TUNNEL_PROTOCOL:
        return TunnelledPortForward()
    return WebSocketPortForward(WEBSOCKET_FORWARDS[carrier.protocol], ports)
