"""The RuntimeService servicer: all of its RPCs, grouped by noun in the modules beside this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire.criv1 import runtime_service_pb2
from cri.services.containers import ContainerCalls
from cri.services.events import EventCalls
from cri.services.list_streams import ListStreamCalls
from cri.services.node import NodeCalls
from cri.services.sandboxes import SandboxCalls
from cri.services.stats import StatsCalls
from cri.services.streams import StreamCalls
from cri.services.unimplemented import answer_unimplemented

if TYPE_CHECKING:
    from cri.services.collaborators import Collaborators


class RuntimeService(
    SandboxCalls, ContainerCalls, StreamCalls, NodeCalls, StatsCalls, EventCalls, ListStreamCalls
):
    """`runtime.v1.RuntimeService`."""

    def __init__(self, on: Collaborators) -> None:
        self.on = on


answer_unimplemented(runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"], RuntimeService)
