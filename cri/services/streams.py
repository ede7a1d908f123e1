"""RuntimeService: the RPCs that hand out URLs of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.sandbox.port_forward import port_forward_call
from cri.services.rpc import rpc
from cri.stream.endpoints import Streams
from cri.stream.port_forward import HIGHEST_PORT

if TYPE_CHECKING:
    from cri.services.collaborators import Collaborators


class StreamCalls:
    """Mixed into the RuntimeService servicer."""

    on: Collaborators

    @rpc
    async def Exec(self, request: criv1.ExecRequest) -> criv1.ExecResponse:
        streams = _streams(request)
        call = self.on.containers.exec_call(_container_id(request), tuple(request.cmd), streams)
        return criv1.ExecResponse(url=self.on.streams.url(call))

    @rpc
    async def Attach(self, request: criv1.AttachRequest) -> criv1.AttachResponse:
        streams = _streams(request)
        call = self.on.containers.attach_call(_container_id(request), streams)
        return criv1.AttachResponse(url=self.on.streams.url(call))

    @rpc
    async def PortForward(self, request: criv1.PortForwardRequest) -> criv1.PortForwardResponse:
        if not request.pod_sandbox_id:
            raise InvalidArgument("pod_sandbox_id is empty")
        for port in request.port:
            if not 0 < port <= HIGHEST_PORT:
                raise InvalidArgument(f"port {port} is not a port from 1 to {HIGHEST_PORT}")
        call = port_forward_call(self.on.sandboxes.get(request.pod_sandbox_id), tuple(request.port))
        return criv1.PortForwardResponse(url=self.on.streams.url(call))


def _container_id(request: criv1.ExecRequest | criv1.AttachRequest) -> str:
    if not request.container_id:
        raise InvalidArgument("container_id is empty")
    return request.container_id


def _streams(request: criv1.ExecRequest | criv1.AttachRequest) -> Streams:
    if request.tty and request.stderr:
        raise InvalidArgument("tty and stderr exclude each other: a terminal has one output")
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidArgument("none of stdin, stdout and stderr is set: there would be nothing to stream")
    return Streams(request.stdin, request.stdout, request.stderr, request.tty)
